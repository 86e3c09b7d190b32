"""The resumable state of a training: a file under .training/, named by all that decides the result.

How long it is kept: housekeeping.py.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from joblib import cpu_count

from pipeline.errors import InputError
from pipeline.outputs import replacing
from pipeline.training.devices import device, processor
from pipeline.training.housekeeping import states_folder

DECISIVE = ("XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")


def state_path(task: str, inputs: dict[str, Any], precision: str) -> Path:
    """Return a name that changes with all that decides the weights of a training to the last digit.

    inputs: parameters by value, data and code by md5, as `pipeline.inputs.inputs` returns them.
    """
    decisive = {
        "inputs": inputs,
        "device": device(precision),
        "threads": os.environ.get("TF_NUM_INTRAOP_THREADS") or cpu_count(),
        "processor": processor(),
        "environment": [os.environ.get(name) for name in DECISIVE],
        "versions": [library.__version__ for library in (cv2, keras, np, tf)],
    }
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return states_folder() / f"{task}-{key[:16]}.npz"


class TrainingState(keras.callbacks.Callback):
    """Keep after each epoch the history, the best weights by validation loss, and what a restart needs, in one file.

    `Model.variables` holds the weights, the moving statistics and the state of every seed generator (dropout). With
    the optimizer's variables it decides the rest of the training. The file is replaced in one step.

    history: a row per epoch. best: the weights of the best epoch. seconds: the time of all epochs in the history,
    whichever session trained them.
    """

    def __init__(self, path: Path, epochs: int):
        super().__init__()
        self.path, self.epochs = path, epochs
        self.history: list[dict[str, float]] = []
        self.best: list[np.ndarray] = []
        self.seconds = 0.0

    def restore(self, model: keras.Model) -> None:
        """Put a compiled model, whose optimizer is built, back to where the file left it.

        Says in one line that a training is finished already, or that its file is damaged: then the model stays as it
        is, as without a file.
        """
        self.set_model(model)
        try:
            with np.load(self.path) as file:  # np.load unpickles nothing unless told to
                arrays = [file[f"arr_{k}"] for k in range(len(file.files) - 1)]
                meta = json.loads(file["meta"].item())
                best, self.history, self.seconds = meta["best"], meta["history"], meta["seconds"]
        except FileNotFoundError:
            return
        except Exception as error:  # what np.load raises depends on what is broken
            print(f"{self.path}: damaged, the training starts afresh ({error})")
            return
        self.best, current = arrays[:best], arrays[best:]
        for variable, value in zip(model.variables + model.optimizer.variables, current, strict=True):
            variable.assign(value)
        if len(self.history) >= self.epochs:
            print(f"{self.path}: this training is finished, the outputs come from it; to train anew, delete that file")

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.since = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Keep the epoch. Raises InputError at a loss that is nan or infinite."""
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        self.history.append({"epoch": epoch + 1} | {name: float(logs[name]) for name in names})
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs[name]):
                raise InputError(f"epoch {epoch + 1}: {name} is {logs[name]}; a lower learning_rate may help")
        if np.argmin([row["val_loss"] for row in self.history]) == epoch:  # the first of equal ones
            self.best = self.model.get_weights()
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now
        self.save()

    def save(self) -> None:
        """Write the file, whole on the disk before it takes its name."""
        current = [variable.numpy() for variable in self.model.variables + self.model.optimizer.variables]
        meta = {"history": self.history, "epochs": self.epochs, "seconds": self.seconds, "best": len(self.best)}
        with replacing(self.path) as draft, draft.open("wb") as file:
            np.savez(file, *self.best, *current, meta=json.dumps(meta))
            file.flush()
            os.fsync(file.fileno())
