"""Trainings in the working directory, and what its MLflow store holds of them."""

import contextlib
import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline import tracking
from pipeline.train import train


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


def train_until(task: str, words: str) -> None:
    """Train in this process, interrupted as it prints these words."""
    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(CtrlCAt(words)):
        train(task)


def runs(task: str) -> list[mlflow.entities.Run]:
    """All runs of a task, the newest first."""
    return mlflow.search_runs([tracking.connect(task)], output_format="list", order_by=["start_time DESC"])


def only_run(task: str) -> mlflow.entities.Run:
    (run,) = runs(task)
    return run


def logged(run: mlflow.entities.Run, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, by step."""
    found = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in found)
