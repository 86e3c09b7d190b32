"""How long the states of trainings (state.py) are kept.

A finished training keeps its state until its evaluation, which runs after DVC has stored the outputs. A kill before
costs no epoch.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.paths import root
from pipeline.training.checkpoint import history_csv

KEPT = 30 * 24 * 3600  # seconds since the last epoch; one state of the chapter's segmenter takes 35 MB


def states_folder() -> Path:
    """Return the folder of states, which outlives the folder of a `dvc exp run --temp`."""
    return root() / ".training"


def forget_finished(task: str, history: str) -> None:
    """Delete the states of finished trainings with this history, the text of data/history/TASK.csv."""
    for path in states_folder().glob(f"{task}-*.npz"):
        if _finished_history(path) == history:
            _forget(path)


def forget_old(task: str) -> None:
    """Delete the states of trainings that nobody went on with for 30 days, and drafts of them that a kill left."""
    for path in states_folder().glob(f"*{task}-*.npz"):
        with suppress(FileNotFoundError):  # of a draft that took its state's place in this moment
            if time.time() - path.stat().st_mtime > KEPT:
                _forget(path)


def _forget(path: Path) -> None:
    for file in (path, path.with_suffix(".lock")):  # the lock of train.py lies beside the state
        file.unlink(missing_ok=True)


def _finished_history(path: Path) -> str | None:
    try:
        with np.load(path) as file:
            meta = json.loads(file["meta"].item())
            # A training at work may begin as a shorter one that is finished.
            return history_csv(meta["history"]) if len(meta["history"]) >= meta["epochs"] else None
    except Exception:  # damaged; what np.load raises depends on what is broken
        return None
