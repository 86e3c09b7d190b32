"""What ties a run to the repository: a training as dvc.lock names it, how it came about, the code it ran."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.inputs import content_md5
from pipeline.params import Params
from pipeline.paths import HISTORY, METRICS, MODELS, PLOTS, PREPARED
from pipeline.revisions import Revision, is_unedited, stored_outputs

GIT_COMMIT = "mlflow.source.git.commit"
ACTIONS = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_SHA", "GITHUB_EVENT_PATH")
OUTPUTS = ("model_md5", "history_md5")
EVALUATION = ("metrics_md5", "plots_md5")


def files(task: str) -> dict[str, Path]:
    """What DVC keeps of a task, files and folders, by the tag that has the md5."""
    return {
        "data_md5": PREPARED / task,
        "model_md5": MODELS / f"{task}.keras",
        "history_md5": HISTORY / f"{task}.csv",
        "metrics_md5": METRICS / f"{task}.json",
        "plots_md5": PLOTS / task,
    }


@dataclass(frozen=True)
class Training:
    """What decided a training, and the md5s of what it left: the names under which DVC keeps it.

    params: the section of params.yaml and the pictures' size.
    outputs: model_md5 and history_md5; empty while the training is at work. The checkpoint alone does not name a
    training: the history may go on after the best epoch.
    """

    task: str
    params: dict[str, Any]
    data_md5: str
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        return {"data_md5": self.data_md5} | self.outputs

    @property
    def condition(self) -> str:
        """What a finished run of this training fulfils, as MLflow's search takes it."""
        tags = [f"tags.{name} = '{value}'" for name, value in self.tags.items()]
        params = [f"params.{name} = '{value}'" for name, value in self.params.items()]
        return " and ".join(["attributes.status = 'FINISHED'", *tags, *params])

    def finished(self) -> "Training":
        """The same with the outputs that lie in the working directory."""
        return replace(self, outputs={name: content_md5(files(self.task)[name]) for name in OUTPUTS})


def training_in_lock(task: str, stages: dict[str, Any]) -> Training | None:
    """The training that the `stages` of a dvc.lock hold; None where there is none, or only one of earlier data."""
    with suppress(KeyError):  # no such stage, or another layout, as an older revision may have
        return _training(task, f"train_{task}", stages)
    return None


def _training(task: str, section: str, stages: dict[str, Any]) -> Training | None:
    stage, before = stages[section], stages[f"preprocess_{task}"]
    params = stage["params"]["params.yaml"][section]
    with suppress(ValidationError):  # an older revision may have had other parameters
        params = Params.model_fields[section].annotation.model_validate(params).model_dump()
    size = before["params"]["params.yaml"][f"preprocess.{task}_size"]
    paths, md5 = files(task), {entry["path"]: entry["md5"] for entry in (*stage["deps"], *stage["outs"])}
    data = str(paths["data_md5"])
    if md5[data] not in (entry["md5"] for entry in before["outs"]):
        return None
    return Training(task, params | {"image_size": size}, md5[data], {name: md5[str(paths[name])] for name in OUTPUTS})


def stored_history(task: str) -> str | None:
    """The md5 of the history of the training that DVC has here, in dvc.lock and in its cache; None if it has none."""
    return stored_outputs(f"train_{task}").get(str(files(task)["history_md5"]))


def evaluation_in_lock(training: Training, stages: dict[str, Any]) -> dict[str, str]:
    """metrics_md5 and plots_md5 of a training's evaluation in the `stages` of a dvc.lock; empty where there is none."""
    paths = files(training.task)
    with suppress(KeyError):  # as above
        stage = stages[f"evaluate_{training.task}"]
        md5 = {entry["path"]: entry["md5"] for entry in (*stage["deps"], *stage["outs"])}
        if all(md5[str(paths[name])] == value for name, value in training.tags.items()):
            return {name: md5[str(paths[name])] for name in EVALUATION}
    return {}


def evaluation_in_files(task: str) -> dict[str, str]:
    """The same of the files in the working directory."""
    return {name: content_md5(files(task)[name]) for name in EVALUATION}


def origin_tags() -> dict[str, str]:
    """How a training that starts now came about: the command, DVC's experiment, the commit and pull request in CI."""
    environment, experiment = os.environ, os.environ.get("DVC_EXP_NAME", "")
    command = "dvc exp run" if experiment else "dvc repro" if "DVC_STAGE" in environment else "python -m pipeline.train"
    place = "" if environment.get("CI", "") in ("", "false") else " in CI"
    tags = {"origin": command + place, "dvc_experiment": experiment}
    return {name: value for name, value in (tags | _ci_tags()).items() if value}


def restored_tags(revision: Revision, task: str) -> dict[str, str]:
    """How a run came about that is written from a revision's outputs. Its code may have been edited since."""
    tags = {"origin": "restored from DVC", "restored_from": revision.name}
    if not is_unedited(revision, "download", f"preprocess_{task}", f"train_{task}"):
        tags[GIT_COMMIT] = f"unknown, code, packages or parameters in {revision.name} are not those that dvc.lock names"
    elif revision.commit:
        tags[GIT_COMMIT] = revision.commit
    tags |= {"dvc_experiment": revision.name} if revision.is_experiment else {}
    return {name: value for name, value in (tags | _ci_tags()).items() if value}


def _ci_tags() -> dict[str, str]:
    """The commit and the pull request that GitHub Actions works on. It checks out a merge of the two branches."""
    if not all(name in os.environ for name in ("GITHUB_ACTIONS", *ACTIONS)):
        return {}
    server, repository, run_id, commit, event = (os.environ[name] for name in ACTIONS)
    pull_request, page = json.loads(Path(event).read_text()).get("pull_request"), f"{server}/{repository}"
    return {
        "ci_commit": pull_request["head"]["sha"] if pull_request else commit,
        "ci_pull_request": f"{page}/pull/{pull_request['number']}" if pull_request else "",
        "ci_run": f"{page}/actions/runs/{run_id}",
    }
