"""How long the state of a training is kept: until its evaluation, and a month."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.training.checkpoint import history_csv
from pipeline.training.housekeeping import KEPT, forget_finished, forget_old, states_folder

HISTORY = [{"epoch": epoch, "loss": 0.5 / epoch} for epoch in (1, 2, 3)]


@pytest.fixture(autouse=True)
def in_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of `dvc exp run --temp` works in another folder: DVC_ROOT names the repository."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    forget_old("classifier")  # there may be no states yet
    states_folder().mkdir()


def write_state(name: str, epochs: int = 3, age: int = 0) -> Path:
    """A training of so many epochs that has done three; the file is so many seconds old."""
    path = states_folder() / f"{name}.npz"
    np.savez(path, meta=json.dumps({"history": HISTORY, "epochs": epochs}))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def names() -> set[str]:
    return {path.stem for path in states_folder().iterdir()}


def test_an_evaluation_deletes_the_state_of_the_training_it_evaluated_and_no_other(tmp_path: Path) -> None:
    write_state("classifier-a").with_suffix(".lock").touch()
    write_state("segmenter-a")
    write_state("classifier-longer", epochs=5)
    (tmp_path / ".training/classifier-damaged.npz").write_bytes(b"This is no state.")
    forget_finished("classifier", history_csv(HISTORY[:2]))
    assert "classifier-a" in names(), "another history"
    forget_finished("classifier", history_csv(HISTORY))
    assert names() == {"segmenter-a", "classifier-longer", "classifier-damaged"}


def test_states_and_drafts_that_nobody_went_on_with_for_a_month_go() -> None:
    for name in ("classifier-a", ".draft-classifier-b", "segmenter-a"):
        write_state(name, age=KEPT + 60)
    write_state("classifier-c", age=KEPT - 60)
    forget_old("classifier")
    assert names() == {"classifier-c", "segmenter-a"}
