"""What a training leaves: its resumable state while it works, the canonical checkpoint at its end."""

import json
import os
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from pipeline.stage import InputError


def save_checkpoint(model: keras.Model, values: list[np.ndarray], path: Path) -> None:
    """Write the model with these `variables` as a .keras file that holds no optimizer and no trace of when or where.

    The same values give the same bytes, so that DVC skips what depends on them. Atomic.
    """
    plain = type(model).from_config(model.get_config())  # clone_model would bring the optimizer along
    _assign(plain.variables, values)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"draft-{path.name}")
    plain.save(draft)
    _canonicalize(draft)
    draft.replace(path)


def load_checkpoint(path: Path) -> keras.Model:
    """Load for prediction. Raises InputError if the file is missing, broken, or wants to run code of its own."""
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro` makes it, `dvc pull` fetches it")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises ValueError, TypeError, KeyError, OSError, BadZipFile, by what is broken
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a Keras checkpoint: {reason}") from None


def _canonicalize(path: Path) -> None:
    """Keras writes the date, memory addresses as ids of shared objects, and zip timestamps."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({"keras_version": metadata["keras_version"], "date_saved": ""}).encode()
    ids: dict[bytes, int] = {}
    members["config.json"] = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda match: str(ids.setdefault(match[0], len(ids))).encode(),
        members["config.json"],
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # 1980-01-01, stored


def _assign(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class TrainingState(keras.callbacks.Callback):
    """After each epoch: the history, the best weights by validation loss, and all that a restart needs, in one file.

    `Model.variables` holds the weights, the moving statistics and the state of every seed generator (augmentation,
    dropout); with the optimizer's variables it decides the rest of the training. The file is replaced in one step.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.run_id: str | None = None
        self.history: list[dict[str, float]] = []
        self.best: list[np.ndarray] = []

    @property
    def best_epoch(self) -> int:
        """From 1; the first of equal ones."""
        return 1 + int(np.argmin([row["val_loss"] for row in self.history]))

    def restore(self, model: keras.Model) -> None:
        """Put a compiled model back to where the file left it; without a whole file, leave it as it is."""
        self.set_model(model)
        model.optimizer.build(model.trainable_variables)
        try:
            with np.load(self.path) as file:  # np.load unpickles nothing unless told to
                arrays = [file[f"arr_{k}"] for k in range(len(file.files) - 1)]
                meta = json.loads(file["meta"].item())
        except FileNotFoundError:
            return
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            print(f"{self.path}: damaged, the training starts afresh ({error})")
            return
        self.run_id, self.history = meta["run_id"], meta["history"]
        self.best, current = arrays[: meta["best"]], arrays[meta["best"] :]
        _assign(model.variables + model.optimizer.variables, current)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Raises InputError at a loss that is nan or infinite."""
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        self.history.append({"epoch": epoch + 1} | {name: float(logs[name]) for name in names})
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs[name]):
                raise InputError(f"epoch {epoch + 1}: {name} is {logs[name]}; a lower learning_rate may help")
        if self.best_epoch == epoch + 1:
            self.best = [variable.numpy() for variable in self.model.variables]
        self.save()

    def save(self) -> None:
        """Write the file: a new one beside it, on the disk before it takes the name."""
        current = [variable.numpy() for variable in self.model.variables + self.model.optimizer.variables]
        meta = json.dumps({"run_id": self.run_id, "history": self.history, "best": len(self.best)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft.npz")
        with draft.open("wb") as file:
            np.savez(file, *self.best, *current, meta=meta)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
