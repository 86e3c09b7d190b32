"""What DVC holds of a task, by content. MLflow's runs are found by these md5s, never by an id."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inputs import content_md5
from pipeline.params import Params
from pipeline.paths import HISTORY, METRICS, MODELS, PLOTS, PREPARED

TRAINING = ("data_md5", "model_md5", "history_md5")
EVALUATION = ("metrics_md5", "plots_md5")


def paths(task: str) -> dict[str, Path]:
    """Return what DVC keeps of a task, files and folders, by the tag that has the md5."""
    return {
        "data_md5": PREPARED / task,
        "model_md5": MODELS / f"{task}.keras",
        "history_md5": HISTORY / f"{task}.csv",
        "metrics_md5": METRICS / f"{task}.json",
        "plots_md5": PLOTS / task,
    }


@dataclass(frozen=True)
class Result:
    """A finished training and, where there is one, its evaluation.

    params: those that `decided` returns.
    training: md5s of prepared data, checkpoint and history. The checkpoint alone does not name a training: the history
        may go on after the best epoch.
    evaluation: md5s of metrics and plots; empty where there is none.
    """

    task: str
    params: dict[str, Any]
    training: dict[str, str]
    evaluation: dict[str, str]

    @property
    def condition(self) -> str:
        """Return what the finished run of this training fulfils, in MLflow's filter language."""
        tags = [f"tags.{name} = '{md5}'" for name, md5 in self.training.items()]
        return " and ".join(["attributes.status = 'FINISHED'", *tags])


def decided(task: str, params: Params, image_size: int) -> dict[str, Any]:
    """Return what MLflow shows as the parameters of a training: its section, the pictures' size and origin."""
    return _shown(getattr(params, f"train_{task}").model_dump(), image_size, params.download.dataset)


def _shown(section: dict[str, Any], image_size: int, dataset: str) -> dict[str, Any]:
    return section | {"image_size": image_size, "dataset": dataset}


def result_in_files(task: str, params: dict[str, Any], evaluated: bool) -> Result:
    """Return what lies in the working directory. evaluated: metrics and plots are of this checkpoint."""
    md5s = {name: content_md5(path) for name, path in paths(task).items() if name in TRAINING or evaluated}
    training, evaluation = ({name: md5s[name] for name in part if name in md5s} for part in (TRAINING, EVALUATION))
    return Result(task, params, training, evaluation)


def result_in_lock(task: str, stages: dict[str, Any]) -> Result | None:
    """Return what the `stages` of a dvc.lock hold; None without a training, or with one of earlier data."""
    with suppress(KeyError):  # no such stage, or another layout, as an older revision may have
        trained, prepared = stages[f"train_{task}"], stages[f"preprocess_{task}"]
        training = _md5s(task, TRAINING, trained)
        if training["data_md5"] in (out["md5"] for out in prepared["outs"]):
            size = prepared["params"]["params.yaml"][f"preprocess.{task}_size"]
            dataset = stages["download"]["params"]["params.yaml"]["download"]["dataset"]
            params = _shown(trained["params"]["params.yaml"][f"train_{task}"], size, dataset)
            return Result(task, params, training, _evaluation(task, stages, training))
    return None


def _evaluation(task: str, stages: dict[str, Any], training: dict[str, str]) -> dict[str, str]:
    with suppress(KeyError):
        stage = stages[f"evaluate_{task}"]
        of = ("data_md5", "model_md5")  # what an evaluation depends on
        if _md5s(task, of, stage) == {name: training[name] for name in of}:
            return _md5s(task, EVALUATION, stage)
    return {}


def _md5s(task: str, names: tuple[str, ...], stage: dict[str, Any]) -> dict[str, str]:
    md5 = {entry["path"]: entry["md5"] for entry in (*stage["deps"], *stage["outs"])}
    return {name: md5[str(paths(task)[name])] for name in names}
