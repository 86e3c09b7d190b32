"""A training that is interrupted goes on, in the same MLflow run, to the result it would have had."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from pipeline import checkpoint
from pipeline.evaluate import evaluate
from pipeline.stage import content_md5
from pipeline.tracking.lineage import stored_history
from pipeline.train import train
from tests.project import run_in, start_stage, tiny, write_params
from tests.training import logged, only_run, train_until


def outputs() -> tuple[str, str]:
    return content_md5(Path("data/models/classifier.keras")), content_md5(Path("data/history/classifier.csv"))


def states() -> list[Path]:
    """The states of unfinished trainings."""
    return list(Path(".training").glob("*.npz"))


def epochs_trained(capsys: pytest.CaptureFixture) -> list[int]:
    """The epochs that were printed since this was last asked."""
    return [int(epoch) for epoch in re.findall(r"epoch (\d+)/", capsys.readouterr().out)]


def test_a_training_ended_by_sigterm_goes_on_where_it_stopped(prepared: Path) -> None:
    # Mini-Xception: augmentation, dropout and batch normalization all have states of their own.
    write_params(prepared, **tiny(train_classifier={"architecture": "mini_xception", "epochs": 5}))
    process = start_stage(prepared, "train", "classifier")
    for line in process.stdout:
        if "epoch 2/5" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "train_classifier: interrupted"
    assert only_run("classifier").info.status == "KILLED"

    train("classifier")
    resumed = only_run("classifier")
    assert resumed.info.status == "FINISHED"
    assert [step for step, _ in logged(resumed, "val_loss")] == [1, 2, 3, 4, 5], "every epoch once"
    assert states() == [], "a finished training leaves no state"

    found = outputs()
    train("classifier")
    assert outputs() == found, "what an uninterrupted one gives"
    assert only_run("classifier").data.tags["repeats"] == "1"


def test_a_training_killed_inside_its_first_epoch_goes_on_in_the_same_run(prepared: Path) -> None:
    process = start_stage(prepared, "train", "classifier")
    deadline = time.monotonic() + 60
    while not states():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    printed, _ = process.communicate()
    assert "epoch 1/3" not in printed
    assert only_run("classifier").info.status == "RUNNING", "it had no time to say otherwise"

    train("classifier")
    run = only_run("classifier")
    assert run.info.status == "FINISHED"
    assert [step for step, _ in logged(run, "val_loss")] == [1, 2, 3]


def test_the_state_of_other_parameters_is_not_used_and_waits_for_its_own(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    train_until("classifier", "epoch 2/3")
    write_params(prepared, **tiny(train_classifier={"learning_rate": 0.002}))
    train("classifier")
    assert epochs_trained(capsys) == [1, 2, 3]
    assert len(states()) == 1

    write_params(prepared, **tiny())
    train("classifier")
    assert epochs_trained(capsys) == [3]
    assert states() == []


def test_the_state_of_other_data_is_not_used_and_waits_for_its_own(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    path = Path("data/prepared/classifier/images.npy")
    original = path.read_bytes()
    train_until("classifier", "epoch 2/3")
    path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))  # one pixel
    train("classifier")
    assert epochs_trained(capsys) == [1, 2, 3]
    assert len(states()) == 1

    path.write_bytes(original)
    train("classifier")
    assert epochs_trained(capsys) == [3]
    assert states() == []


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


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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


@pytest.mark.parametrize("change", ["TF_NUM_INTRAOP_THREADS", "device"])
def test_the_state_of_another_device_or_number_of_threads_is_not_used(
    prepared: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    train_until("classifier", "epoch 2/3")
    capsys.readouterr()
    if change == "device":
        monkeypatch.setattr("pipeline.train.device", lambda: "NVIDIA H100")
    else:
        monkeypatch.setenv(change, "99")
    train("classifier")
    assert epochs_trained(capsys) == [1, 2, 3]


def test_a_damaged_state_is_reported_and_the_training_starts_afresh(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    train("classifier")
    expected = outputs()
    train_until("classifier", "epoch 2/3")
    (path,) = states()
    path.write_bytes(path.read_bytes()[:1000])
    capsys.readouterr()

    train("classifier")
    said = capsys.readouterr().out
    assert len(re.findall(rf"^{path.resolve()}: damaged, the training starts afresh", said, re.MULTILINE)) == 1
    assert re.findall(r"epoch (\d)/3", said) == ["1", "2", "3"]
    assert outputs() == expected
    assert states() == []
