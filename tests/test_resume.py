"""A training that is interrupted goes on, in the same MLflow run, to the result it would have had."""

import re
import signal
import time
from pathlib import Path

import pytest

from pipeline.inputs import content_md5
from pipeline.train import train
from tests.helpers.project import start_stage, tiny, write_params
from tests.helpers.training import logged, only_run, train_until


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


@pytest.mark.parametrize("change", ["TF_NUM_INTRAOP_THREADS", "device"])
def test_the_state_of_another_device_or_number_of_threads_is_not_used(
    prepared: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    train_until("classifier", "epoch 2/3")
    capsys.readouterr()
    if change == "device":
        monkeypatch.setattr("pipeline.train.device", lambda precision: "NVIDIA H100")
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
