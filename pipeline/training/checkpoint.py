"""What a training leaves: its resumable state while it works, the canonical checkpoint at its end."""

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from pipeline.errors import InputError, writing
from pipeline.paths import root

MEMBERS = ["config.json", "metadata.json", "model.weights.h5"]  # of a .keras file
STATES_KEPT = 10  # of each task; one of the chapter's segmenter takes 35 MB
# What np.load and what follows raise, by what is broken.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


def save_checkpoint(model: keras.Model, weights: list[np.ndarray], path: Path) -> None:
    """Write the model, not compiled, with these weights as a .keras file that holds no trace of when or where.

    The same weights give the same bytes, so that DVC skips what depends on them. Atomic.
    """
    model.set_weights(weights)
    draft = path.with_name(f"draft-{path.name}")
    with _replacing(path, draft):
        model.save(draft)
        _canonicalize(draft)


@contextmanager
def _replacing(path: Path, draft: Path) -> Iterator[None]:
    """Within: a draft is written, which takes the path's place. One that is not whole goes, with its room."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> keras.Model:
    """Load for prediction. Raises InputError if the file is missing, broken, or wants to run code of its own."""
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro` makes it, `dvc pull` fetches it")
    try:
        _check_members(path)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises ValueError, TypeError, KeyError, OSError, BadZipFile, by what is broken
        cause = str(error).rpartition("Exception encountered: ")[2] or type(error).__name__
        raise InputError(f"{path}: not a Keras checkpoint: {' '.join(cause.split())[:300]}") from None


def _check_members(path: Path) -> None:
    """Keras would expand what is compressed, 2 MB to 2 GB, and unpack on the disk what is beside these."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if sorted(member.filename for member in members) != MEMBERS:
        found = ", ".join(member.filename for member in members)
        raise ValueError(f"it holds {found}; allowed: {', '.join(MEMBERS)}, once each")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed; allowed: stored, as Keras writes it")


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


def history_csv(history: list[dict[str, float]]) -> str:
    """A row per epoch, as data/history/TASK.csv holds it."""
    return pd.DataFrame(history).to_csv(index=False)


def prune_states(task: str, history_md5: str | None) -> None:
    """Remove the states that are needed no more: of the training with this history, and all but the last STATES_KEPT.

    history_md5: of data/history/TASK.csv, if DVC has it: the state of a training that is done waits until DVC has what
    it made, as a kill before would cost all its epochs. A training that is at work holds its lock, and keeps its files.
    """
    folder = root() / ".training"
    with suppress(FileNotFoundError):  # another training removed its own
        files = sorted(folder.glob(f"{task}-*"), key=os.path.getmtime, reverse=True)
        for place, key in enumerate(dict.fromkeys(path.stem for path in files)):  # a kill may leave a draft or a lock
            if place >= STATES_KEPT or done_history(folder / f"{key}.npz") == history_md5:
                with suppress(Timeout), FileLock(folder / f"{key}.lock", blocking=False):
                    for kind in ("npz", "draft", "lock"):  # the lock last: others wait for it
                        (folder / f"{key}.{kind}").unlink(missing_ok=True)


def done_history(path: Path) -> str:
    """The md5 of the history of a training that is done, from its state; "" where there is none of such a training."""
    try:
        with np.load(path) as file:
            meta = _meta(file)
            # One that is at work may begin as a shorter one did that DVC has.
            is_done = len(meta["history"]) >= meta["epochs"]
            return hashlib.md5(history_csv(meta["history"]).encode()).hexdigest() if is_done else ""
    except UNREADABLE:
        return ""


def _meta(file: np.lib.npyio.NpzFile) -> dict:
    return json.loads(file["meta"].item())


class TrainingState(keras.callbacks.Callback):
    """After each epoch: the history, the best weights by validation loss, and all that a restart needs, in one file.

    `Model.variables` holds the weights, the moving statistics and the state of every seed generator
    (dropout); with the optimizer's variables it decides the rest of the training. The file is replaced in one step.
    """

    def __init__(self, path: Path, epochs: int):
        super().__init__()
        self.path, self.epochs = path, epochs
        self.run_id: str | None = None
        self.history: list[dict[str, float]] = []
        self.best: list[np.ndarray] = []

    @property
    def best_epoch(self) -> int:
        """From 1; the first of equal ones."""
        return 1 + int(np.argmin([row["val_loss"] for row in self.history]))

    def restore(self, model: keras.Model) -> None:
        """Put a compiled model back to where the file left it; without a whole file, leave it as it is.

        Its optimizer is built.
        """
        self.set_model(model)
        try:
            with np.load(self.path) as file:  # np.load unpickles nothing unless told to
                arrays = [file[f"arr_{k}"] for k in range(len(file.files) - 1)]
                meta = _meta(file)
        except FileNotFoundError:
            return
        except UNREADABLE as error:
            print(f"{self.path}: damaged, the training starts afresh ({error})")
            return
        self.run_id, self.history = meta["run_id"], meta["history"]
        self.best, current = arrays[: meta["best"]], arrays[meta["best"] :]
        for variable, value in zip(model.variables + model.optimizer.variables, current, strict=True):
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Raises InputError at a loss that is nan or infinite."""
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        self.history.append({"epoch": epoch + 1} | {name: float(logs[name]) for name in names})
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs[name]):
                raise InputError(f"epoch {epoch + 1}: {name} is {logs[name]}; a lower learning_rate may help")
        if self.best_epoch == epoch + 1:
            self.best = self.model.get_weights()
        self.save()

    def save(self) -> None:
        """Write the file: a new one beside it, on the disk before it takes the name."""
        current = [variable.numpy() for variable in self.model.variables + self.model.optimizer.variables]
        progress = {"run_id": self.run_id, "history": self.history, "epochs": self.epochs, "best": len(self.best)}
        draft = self.path.with_suffix(".draft")
        with _replacing(self.path, draft), draft.open("wb") as file:
            np.savez(file, *self.best, *current, meta=json.dumps(progress))
            file.flush()
            os.fsync(file.fileno())
