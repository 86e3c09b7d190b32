"""A training from its prepared pictures to its checkpoint: what it leaves, what it says, how it fails."""

import runpy
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from pipeline.data.dataset import load_dataset
from pipeline.inputs import content_md5
from pipeline.stage import run
from pipeline.tasks import TASKS
from pipeline.train import train
from tests.helpers.project import tiny, write_params
from tests.helpers.training import contradict_training, only_run, train_until


def checkpoint_md5(task: str) -> str:
    return content_md5(Path(f"data/models/{task}.keras"))


@pytest.mark.parametrize("task", TASKS)
def test_the_checkpoint_is_the_epoch_of_the_best_validation_loss(prepared: Path, task: str) -> None:
    contradict_training(prepared / "data/prepared" / task)
    write_params(prepared, **tiny(**{f"train_{task}": {"precision": "float32"}}))
    train(task)
    history = pd.read_csv(f"data/history/{task}.csv")
    assert list(history.columns) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["val_loss"].is_monotonic_increasing, "the first epoch is the best one"

    data, model = load_dataset(task), keras.models.load_model(f"data/models/{task}.keras")
    rows = data.rows("validation")
    model.compile(loss={"segmenter": "sparse_categorical_crossentropy", "classifier": "binary_crossentropy"}[task])
    found = model.evaluate(data.images[rows], data.targets[rows], verbose=0)
    assert found == pytest.approx(history["val_loss"].min(), rel=1e-5)


def test_a_training_in_16_bits_gives_a_plain_float32_checkpoint(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.training.setup.keras_policy", lambda precision: "mixed_bfloat16")
    write_params(prepared, **tiny(train_classifier={"architecture": "mini_xception"}))
    train("classifier")
    model, best = keras.models.load_model("data/models/classifier.keras"), pd.read_csv("data/history/classifier.csv")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}, "no layer of ours"
    data = load_dataset("classifier")
    rows = data.rows("validation")
    model.compile(loss="binary_crossentropy")
    found = model.evaluate(data.images[rows], data.targets[rows], verbose=0)
    assert found == pytest.approx(best["val_loss"].min(), rel=0.02)


def test_the_same_training_gives_the_same_bytes_and_another_seed_other_ones(prepared: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        write_params(prepared, **tiny(train_classifier={"seed": seed}))
        train("classifier")
        found.append((checkpoint_md5("classifier"), content_md5(Path("data/history/classifier.csv"))))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] != found[2][1]


def test_it_says_what_it_trains_on_which_device_and_one_line_per_epoch(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    train("classifier")
    first, *epochs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("residual")]
    parameters = keras.models.load_model("data/models/classifier.keras").count_params()
    assert first == f"residual: {parameters:,} parameters, on {only_run('classifier').data.tags['device']}"
    assert [line.split(":")[0] for line in epochs] == [f"residual epoch {epoch}/3" for epoch in (1, 2, 3)]
    history = pd.read_csv("data/history/classifier.csv")
    assert all(f"val_loss {loss:.4f}" in line for line, loss in zip(epochs, history["val_loss"], strict=True))


def test_a_tiny_training_set_is_learned_by_heart(prepared: Path) -> None:
    write_params(prepared, **tiny(train_classifier={"epochs": 60}))
    train("classifier")
    history = pd.read_csv("data/history/classifier.csv")
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert np.isfinite(history.to_numpy()).all()


@pytest.fixture
def sigterm() -> Iterator[None]:
    """A stage that runs as a program takes SIGTERM over; here it gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def fill_state_with_nan() -> None:
    """As a weight that has overflowed: no learning rate that is allowed does that to so few pictures."""
    (path,) = Path(".training").glob("*.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    broken = {name: np.full_like(value, np.nan) for name, value in arrays.items() if value.dtype == np.float32}
    np.savez(path, **arrays | broken)


def test_a_loss_that_is_not_finite_ends_the_stage_with_one_line_and_the_run_as_failed(
    prepared: Path, sigterm: None
) -> None:
    train_until("classifier", "epoch 1/3")
    fill_state_with_nan()
    with pytest.raises(SystemExit) as ended:
        run(train, "classifier")  # a message as the code: it goes to stderr, the exit status is 1
    assert ended.value.code == "train_classifier: epoch 2: loss is nan; a lower learning_rate may help"
    assert only_run("classifier").info.status == "FAILED"
    assert not Path("data/models/classifier.keras").exists()


@pytest.mark.parametrize("stage", ["train", "evaluate"])
@pytest.mark.parametrize(("arguments", "says"), [([], "required: task"), (["painter"], "invalid choice: 'painter'")])
def test_a_wrong_or_missing_task_is_one_line_before_any_work(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, stage, arguments, says
) -> None:
    before = sorted(prepared.rglob("*"))
    monkeypatch.setattr(sys, "argv", [f"{stage}.py", *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the module is imported already: starting another process takes seconds
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"pipeline.{stage}", run_name="__main__")
    assert ended.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: ")
    assert says in error
    assert sorted(prepared.rglob("*")) == before


def test_data_that_is_not_there_is_one_line_and_no_run(prepared: Path, sigterm: None) -> None:
    Path("data/prepared/classifier/images.npy").unlink()
    with pytest.raises(
        SystemExit, match=r"^train_classifier: data/prepared/classifier: .*`dvc repro preprocess_classifier`"
    ):
        run(train, "classifier")
