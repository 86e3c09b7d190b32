"""Trainings in the working directory, and what its MLflow store holds of them."""

import contextlib
import io
import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from mlflow.entities import Run, ViewType

from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Origin
from pipeline.tracking.record import find, record
from pipeline.tracking.results import Result, paths, result_in_files
from pipeline.tracking.store import connect, search

HISTORY = "epoch,loss,accuracy,val_loss,val_accuracy\n"


class CtrlCAt(io.StringIO):
    """A standard output: Ctrl-C is pressed as certain words appear on it."""

    def __init__(self, words: str):
        super().__init__()
        self.words = words

    def write(self, text: str) -> int:
        if self.words in text:
            raise KeyboardInterrupt
        return super().write(text)


def interrupt(*_: object) -> None:
    """Stand where Ctrl-C is pressed inside a function."""
    raise KeyboardInterrupt


def train_until(task: str, words: str) -> None:
    """Train in this process, interrupted as it prints these words."""
    from pipeline.train import train  # TensorFlow takes 5 s, and most tests of tracking need none

    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(CtrlCAt(words)):
        train(task)


def states() -> list[Path]:
    """Return the states of unfinished trainings."""
    return list(Path(".training").glob("*.npz"))


def epochs_trained(capsys: pytest.CaptureFixture) -> list[int]:
    """Return the epochs that were printed since this was last asked."""
    return [int(epoch) for epoch in re.findall(r"epoch (\d+)/", capsys.readouterr().out)]


def runs(task: str) -> list[Run]:
    """Return all runs of a task but deleted ones, the newest first."""
    return search(task)[::-1]


def deleted_runs(task: str) -> list[Run]:
    return mlflow.MlflowClient().search_runs([connect(task)], run_view_type=ViewType.DELETED_ONLY)


def only_run(task: str) -> Run:
    (run,) = runs(task)
    return run


def logged(run: Run, metric: str) -> list[tuple[int, float]]:
    """Return (step, value) of a metric, by step."""
    found = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in found)


def lock_outputs(*tasks: str) -> None:
    """Have DVC hold the results of tasks that lie here, as after `dvc repro`: in its cache and in dvc.lock."""
    stages, sizes = {"download": {"params": ["download"]}}, [f"preprocess.{task}_size" for task in tasks]
    for task, size in zip(tasks, sizes, strict=True):
        data, model, *others = (str(path) for path in paths(task).values() if path.exists())
        stages[f"preprocess_{task}"] = {"params": [size], "outs": [data]}
        stages[f"train_{task}"] = {"params": [f"train_{task}"], "deps": [data], "outs": [model, others[0]]}
        if others[1:]:
            stages[f"evaluate_{task}"] = {"deps": [data, model], "outs": others[1:]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {name: {"cmd": "true"} | stages[name] for name in stages}}))
    with Repo.init(no_scm=True, force=True) as repo:
        repo.commit(force=True)
    lock = Path("dvc.lock").read_text()  # with the size of the pictures that lie here
    Path("dvc.lock").write_text(re.sub(rf"({'|'.join(sizes)}): \d+", r"\1: 16", lock))


def write_outputs(task: str, val_loss: float = 0.5, checkpoint: str = "0") -> None:
    """Write what DVC would hold of an evaluated training of one epoch. The checkpoint is no model, only bytes."""
    for name in ("models", "history", "metrics", f"plots/{task}"):
        Path("data", name).mkdir(parents=True, exist_ok=True)
    Path(f"data/models/{task}.keras").write_text(checkpoint)
    Path(f"data/history/{task}.csv").write_text(f"{HISTORY}1,1.0,0.5,{val_loss},0.5\n")
    headline = TASKS[task].metrics[0].name
    scores = {headline: 1 - val_loss, f"{headline}_low": 0.25, f"{headline}_high": 0.75}
    Path(f"data/metrics/{task}.json").write_text(json.dumps(scores))
    Path(f"data/plots/{task}/table.csv").write_text("a,b\n1,2\n")


def result_here(task: str, data_md5: str = "data") -> Result:
    """Return the evaluated training whose outputs lie in the working directory, as if it were of certain data."""
    params = {"architecture": "tiny", "epochs": 1, "image_size": 16, "dataset": "embedded", "seed": 0}
    found = result_in_files(task, params, evaluated=True)
    return Result(task, params, found.training | {"data_md5": data_md5}, found.evaluation)


def record_one(task: str, **tags: str) -> Run:
    """Return the run of an evaluated training. tags: of the run, if there is none yet."""
    write_outputs(task)
    result = result_here(task)
    record(result, Origin(tags))
    return find(result)


def contradict_training(folder: Path) -> None:
    """Give validation another truth than training: the more a model learns, the worse its validation loss."""
    is_train = pd.read_csv(folder / "samples.csv")["split"] == "train"
    targets = np.zeros_like(np.load(folder / "targets.npy"))
    targets[is_train] = 1
    np.save(folder / "targets.npy", targets)
