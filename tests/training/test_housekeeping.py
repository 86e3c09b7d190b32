"""How long the state of a training is kept: until its evaluation, and of each task the newest ones."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.training import housekeeping
from pipeline.training.checkpoint import history_csv
from pipeline.training.housekeeping import forget_finished, forget_oldest, states_folder

HISTORY = [{"epoch": epoch, "loss": 0.5 / epoch} for epoch in (1, 2, 3)]


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which has a folder of states."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    states_folder().mkdir()
    return tmp_path


def write_state(name: str, epochs: int = 3, age: int = 0) -> Path:
    """A training of so many epochs that has done three; the file is so many seconds old."""
    path = states_folder() / f"{name}.npz"
    np.savez(path, meta=json.dumps({"history": HISTORY, "epochs": epochs}))
    os.utime(path, (10**9 - age, 10**9 - age))
    return path


def names() -> set[str]:
    return {path.stem for path in states_folder().iterdir()}


def test_an_evaluation_deletes_the_state_of_the_training_it_evaluated() -> None:
    write_state("classifier-a").with_suffix(".lock").touch()
    write_state("segmenter-a")
    forget_finished("classifier", history_csv(HISTORY))
    assert names() == {"segmenter-a"}


def test_an_evaluation_keeps_states_of_other_histories_and_of_longer_trainings_that_began_the_same() -> None:
    write_state("classifier-longer", epochs=5)
    forget_finished("classifier", history_csv(HISTORY))
    write_state("classifier-other")
    forget_finished("classifier", history_csv(HISTORY[:2]))
    assert names() == {"classifier-longer", "classifier-other"}


def test_a_damaged_state_does_not_hinder_an_evaluation() -> None:
    (states_folder() / "classifier-a.npz").write_bytes(b"This is no state.")
    write_state("classifier-b")
    forget_finished("classifier", history_csv(HISTORY))
    assert names() == {"classifier-a"}


def test_states_of_a_task_are_bounded_the_oldest_go_and_so_do_drafts_that_kills_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(housekeeping, "STATES_KEPT", 2)
    for age, name in enumerate(["classifier-a", "draft-classifier-b", "classifier-c", "draft-classifier-d"]):
        write_state(name, age=age)
    write_state("segmenter-a", age=99)
    forget_oldest("classifier")
    assert names() == {"classifier-a", "draft-classifier-b", "segmenter-a"}


def test_without_states_there_is_nothing_to_do() -> None:
    states_folder().rmdir()
    forget_oldest("classifier")
    forget_finished("classifier", "")


def test_the_states_of_an_experiment_in_a_temporary_folder_lie_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    assert states_folder() == tmp_path / "repository/.training"
