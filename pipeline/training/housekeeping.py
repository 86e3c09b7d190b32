"""How long the states of trainings (state.py) are kept.

A finished training keeps its state until its evaluation, which runs after DVC has stored the outputs. A kill before
costs no epoch.
"""

import json
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.paths import root
from pipeline.training.checkpoint import history_csv

STATES_KEPT = 10  # of each task; one of the chapter's segmenter takes 35 MB
# What np.load and the access to an array raise, by what is broken.
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


def states_folder() -> Path:
    """Return the folder of states, which outlives the folder of a `dvc exp run --temp`."""
    return root() / ".training"


def forget_finished(task: str, history: str) -> None:
    """Delete the states of finished trainings with this history, the text of data/history/TASK.csv."""
    for path in _states(task):
        if _finished_history(path) == history:
            _forget(path)


def forget_oldest(task: str) -> None:
    """Delete all states of a task but the newest 10."""
    for path in _states(task)[STATES_KEPT:]:
        _forget(path)


def _forget(path: Path) -> None:
    for file in (path, path.with_suffix(".lock")):  # the lock of the training, which is over
        file.unlink(missing_ok=True)


def _states(task: str) -> list[Path]:
    """Return states, and drafts of them that a kill left, the newest first."""
    dated = []
    for path in states_folder().glob(f"*{task}-*.npz"):
        with suppress(FileNotFoundError):  # a draft that took its state's place in this moment
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)]


def _forget(path: Path) -> None:
    for file in (path, path.with_suffix(".lock")):  # the lock of train.py lies beside the state
        file.unlink(missing_ok=True)


def _finished_history(path: Path) -> str | None:
    try:
        with np.load(path) as file:
            meta = json.loads(file["meta"].item())
            # A training at work may begin as a shorter one that is finished.
            return history_csv(meta["history"]) if len(meta["history"]) >= meta["epochs"] else None
    except UNREADABLE:
        return None
