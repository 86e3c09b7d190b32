"""Trainings in the working directory, and what its MLflow store holds of them."""

import contextlib
import io
import json
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from keras import layers

from pipeline.inputs import content_md5
from pipeline.tracking.lineage import Training, evaluation_in_files
from pipeline.tracking.record import record
from pipeline.tracking.search import find_training, search
from pipeline.train import train
from pipeline.training.checkpoint import save_checkpoint


def contradict_training(folder: Path) -> None:
    """Another truth in validation than in training: the more a model learns, the worse its validation loss."""
    samples = pd.read_csv(folder / "samples.csv")
    is_train = samples["split"] == "train"
    samples.assign(species=is_train.map({True: "dog", False: "cat"})).to_csv(folder / "samples.csv", index=False)
    if folder.name == "segmenter":
        masks = np.zeros((len(samples), 16, 16), np.uint8)
        masks[~is_train] = 2
        np.save(folder / "masks.npy", masks)


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
    """Stands where Ctrl-C is pressed inside a function."""
    raise KeyboardInterrupt


def train_until(task: str, words: str) -> None:
    """Train in this process, interrupted as it prints these words."""
    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(CtrlCAt(words)):
        train(task)


def runs(task: str) -> list[mlflow.entities.Run]:
    """All runs of a task, the newest first."""
    return search(task)[::-1]


def only_run(task: str) -> mlflow.entities.Run:
    (run,) = runs(task)
    return run


def logged(run: mlflow.entities.Run, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, by step."""
    found = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in found)


def lock_outputs() -> None:
    """dvc.lock as `dvc repro` writes it, as far as the classifier's training is concerned."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    paths = ["data/models/classifier.keras", "data/history/classifier.csv"]
    data = {"path": "data/prepared/classifier", "md5": content_md5(Path("data/prepared/classifier"))}
    stages = {
        "preprocess_classifier": {"params": {"params.yaml": {"preprocess.classifier_size": 16}}, "outs": [data]},
        "train_classifier": {
            "params": {"params.yaml": {"train_classifier": params["train_classifier"]}},
            "deps": [data],
            "outs": [{"path": path, "md5": content_md5(Path(path))} for path in paths],
        },
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def record_one(task: str, val_loss: float, data_md5: str = "data", seed: int = 0, **tags: str) -> mlflow.entities.Run:
    """The run of an evaluated training that ended with this validation loss. The seed makes another checkpoint.

    tags: of the run, if there is none of this training.
    """
    for name in ("history", "metrics", f"plots/{task}"):
        Path("data", name).mkdir(parents=True, exist_ok=True)
    pool = layers.GlobalAveragePooling2D(name="pool")  # without names, the layers would be counted: other bytes
    head = {"segmenter": [layers.Conv2D(3, 1, name="head")], "classifier": [pool, layers.Dense(1, name="head")]}[task]
    model = keras.Sequential([keras.Input((2, 2, 3), name="picture"), *head], name="tiny")
    save_checkpoint(model, [np.full(one.shape, seed) for one in model.weights], Path(f"data/models/{task}.keras"))
    row = {"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_loss": val_loss, "val_accuracy": 0.5}
    pd.DataFrame([row]).to_csv(f"data/history/{task}.csv", index=False)
    Path(f"data/metrics/{task}.json").write_text(json.dumps({"accuracy": 1 - val_loss}))
    Path(f"data/plots/{task}/roc.csv").write_text("false_positive_rate,true_positive_rate")
    training = Training(task, {"architecture": "tiny", "epochs": 1, "seed": seed}, data_md5).finished()
    record(training, evaluation_in_files(task), tags)
    return find_training(training)
