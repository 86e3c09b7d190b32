"""How long the state of a training is kept: until DVC has what it made, and of the unfinished ones the last ten."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from pipeline.evaluate import evaluate
from pipeline.tracking.lineage import stored_history
from pipeline.train import train
from pipeline.training import checkpoint
from tests.helpers.project import run_in, tiny, write_params
from tests.helpers.training import interrupt, only_run, train_until
from tests.test_resume import epochs_trained, outputs, states


def store_in_dvc(folder: Path) -> None:
    """What `dvc repro` does after the stage train_classifier, in a new DVC repository that has no other."""
    stage = {
        "cmd": "python -m pipeline.train classifier",
        "params": ["train_classifier"],
        "deps": ["data/prepared/classifier"],
        "outs": ["data/models/classifier.keras", "data/history/classifier.csv"],
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train_classifier": stage}}))
    run_in(folder, "dvc", "init", "--quiet", "--no-scm")
    run_in(folder, "dvc", "commit", "--quiet", "--force")


@pytest.fixture
def under_dvc(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`prepared`, with trainings as DVC starts them: it stores the outputs after they end, and may be killed before."""
    monkeypatch.setenv("DVC_STAGE", "train_classifier")
    return prepared


def test_a_training_that_is_done_keeps_its_state_until_dvc_has_its_outputs(
    under_dvc: Path, capsys: pytest.CaptureFixture
) -> None:
    train("classifier")
    expected, run = outputs(), only_run("classifier")
    for path in ("data/models/classifier.keras", "data/history/classifier.csv"):
        Path(path).unlink()  # as DVC does before it runs a stage
    assert epochs_trained(capsys) == [1, 2, 3]

    train("classifier")
    assert epochs_trained(capsys) == []
    assert outputs() == expected
    again = only_run("classifier")
    assert (again.info.run_id, again.info.end_time) == (run.info.run_id, run.info.end_time)
    assert "repeats" not in again.data.tags
    assert len(states()) == 1

    store_in_dvc(under_dvc)
    evaluate("classifier")
    assert list(Path(".training").iterdir()) == []


def test_a_training_whose_outputs_dvc_has_is_done_again_when_it_is_forced_else_its_state_goes_with_the_next(
    under_dvc: Path, capsys: pytest.CaptureFixture
) -> None:
    train("classifier")
    store_in_dvc(under_dvc)
    (done,) = states()  # no evaluation followed
    train("classifier")
    assert epochs_trained(capsys) == [1, 2, 3, 1, 2, 3]

    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().replace("cmd: python -m", "cmd: python -Bm"))
    train("classifier")
    assert epochs_trained(capsys) == [], (
        "what DVC has is of another stage: this is no force, but a kill before it stored"
    )

    write_params(under_dvc, **tiny(train_classifier={"epochs": 1}))
    train("classifier")
    assert done not in states()


def test_a_training_whose_history_dvc_lock_names_but_dvc_lacks_is_not_done_twice(
    under_dvc: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("classifier")
    store_in_dvc(under_dvc)
    for folder in (".dvc/cache", ".training"):
        shutil.rmtree(folder)  # as a clone has it
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.train.write_outputs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train("classifier")
    assert epochs_trained(capsys) == [1, 2, 3, 1, 2, 3]
    checkpoint.prune_states("classifier", stored_history("classifier"))  # by another training of the task
    train("classifier")
    assert epochs_trained(capsys) == []


def test_a_longer_training_than_dvc_has_keeps_its_state_though_it_begins_as_that_did(
    under_dvc: Path, capsys: pytest.CaptureFixture
) -> None:
    train("classifier")
    store_in_dvc(under_dvc)
    write_params(under_dvc, **tiny(train_classifier={"epochs": 5}))
    train_until("classifier", "epoch 3/5")  # the same three epochs
    capsys.readouterr()
    train("classifier")
    assert epochs_trained(capsys) == [4, 5]


def test_states_of_unfinished_trainings_are_bounded_the_oldest_go(prepared: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint, "STATES_KEPT", 2)
    seen = []
    for seed in (1, 2, 3):
        write_params(prepared, **tiny(train_classifier={"seed": seed}))
        train_until("classifier", "epoch 1/3")
        seen += [path for path in states() if path not in seen]
    checkpoint.prune_states("classifier", None)
    assert set(states()) == set(seen[1:])


def leave_files(key: str, age: int) -> list[Path]:
    """A draft and a lock, as kills leave them, so many seconds old."""
    paths = [Path(f".training/{key}.{kind}") for kind in ("draft", "lock")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (10**9 - age, 10**9 - age))
    return paths


def test_so_are_drafts_and_locks_that_kills_left_without_a_state(prepared: Path) -> None:
    left = [leave_files(f"classifier-{age}", age) for age in range(checkpoint.STATES_KEPT + 3)]
    checkpoint.prune_states("classifier", None)
    assert set(Path(".training").iterdir()) == {path for paths in left[: checkpoint.STATES_KEPT] for path in paths}


def test_a_training_at_work_keeps_its_files_however_many_others_start(prepared: Path) -> None:
    left = [leave_files(f"classifier-{age}", age) for age in range(checkpoint.STATES_KEPT + 2)]
    *_, at_work, abandoned = left
    with FileLock(at_work[1]):
        checkpoint.prune_states("classifier", None)
    assert [path.exists() for path in (*at_work, *abandoned)] == [True, True, False, False]
