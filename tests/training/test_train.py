"""A training from its prepared pictures to its checkpoint: what it leaves, what it says, how it fails and goes on."""

import contextlib
import io
import json
import shutil
import signal
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
from tests.helpers.project import FROM_OUTSIDE, start_stage, tiny, write_params, write_prepared
from tests.helpers.training import contradict_training, epochs_trained, only_run, states, train_until

PARAMS = tiny(**{f"train_{task}": {"precision": "float32"} for task in TASKS})
LOSS = {"segmenter": "sparse_categorical_crossentropy", "classifier": "binary_crossentropy"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A folder with finished trainings of both tasks, whose first epoch is the best; `printed` has what they said."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(empty_store, folder / "mlflow.db")
    write_params(folder, **PARAMS)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        for name in FROM_OUTSIDE:
            patch.delenv(name, raising=False)
        for task in TASKS:
            write_prepared(folder, task)
            contradict_training(folder / "data/prepared" / task)
            train(task)
    (folder / "printed").write_text(printed.getvalue())
    return folder


@pytest.fixture
def copied(trained: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: the data and the parameters of `trained`, an empty store, nothing trained."""
    shutil.copytree(trained / "data/prepared", tmp_path / "data/prepared")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    write_params(tmp_path, **PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sigterm() -> Iterator[None]:
    """A stage that runs as a program takes SIGTERM over; here it gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def outputs(folder: Path) -> list[str]:
    return [content_md5(folder / path) for path in ("data/models/classifier.keras", "data/history/classifier.csv")]


def validation_loss(task: str) -> float:
    """That of the checkpoint, by plain Keras."""
    data, model = load_dataset(task), keras.models.load_model(f"data/models/{task}.keras")
    rows = data.rows("validation")
    model.compile(loss=LOSS[task])
    return model.evaluate(data.images[rows], data.targets[rows], verbose=0)


@pytest.mark.parametrize("task", TASKS)
def test_the_checkpoint_is_the_epoch_of_the_best_validation_loss(
    trained: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.chdir(trained)
    history = pd.read_csv(f"data/history/{task}.csv")
    assert list(history.columns) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["loss"].is_monotonic_decreasing, "it learns"
    assert history["val_loss"].is_monotonic_increasing, "the first epoch is the best one"
    assert validation_loss(task) == pytest.approx(history["val_loss"].min(), rel=1e-5)


def test_it_says_what_it_trains_on_which_device_and_one_line_per_epoch(trained: Path) -> None:
    lines = (trained / "printed").read_text().splitlines()
    first, *epochs = [line for line in lines if line.startswith("residual")]
    parameters = keras.models.load_model(trained / "data/models/classifier.keras").count_params()
    assert first == f"residual: {parameters:,} parameters, on CPU, float32"
    assert [line.split(":")[0] for line in epochs] == [f"residual epoch {epoch}/3" for epoch in (1, 2, 3)]
    history = pd.read_csv(trained / "data/history/classifier.csv")
    assert all(f"val_loss {loss:.4f}" in line for line, loss in zip(epochs, history["val_loss"], strict=True))


def test_an_interrupted_training_trains_each_epoch_once_and_gives_the_bytes_of_an_uninterrupted_one(
    trained: Path, copied: Path, capsys: pytest.CaptureFixture
) -> None:
    train_until("classifier", "epoch 2/3")
    write_params(copied, **PARAMS | {"train_classifier": PARAMS["train_classifier"] | {"learning_rate": 0.002}})
    train_until("classifier", "epoch 1/3")  # has a state of its own
    write_params(copied, **PARAMS)
    capsys.readouterr()
    train("classifier")
    assert epochs_trained(capsys) == [3]
    assert outputs(copied) == outputs(trained)

    shutil.rmtree("data/models")  # killed before DVC stored them
    train("classifier")
    assert epochs_trained(capsys) == []
    assert outputs(copied) == outputs(trained)
    assert len(states()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_training_goes_on_to_the_bytes_of_an_uninterrupted_one(
    prepared: Path, capsys: pytest.CaptureFixture, kill: signal.Signals
) -> None:
    # Augmentation, dropout and batch normalization have states of their own.
    given = {"architecture": "mini_xception", "augmentation": "chapter", "epochs": 6}
    write_params(prepared, **tiny(train_classifier=given))
    process = start_stage(prepared, "train", "classifier")
    for line in process.stdout:
        if "epoch 2/6" in line:
            process.send_signal(kill)
            break
    _, errors = process.communicate(timeout=60)
    if kill is not signal.SIGKILL:
        assert process.returncode == 130
        assert errors.splitlines()[-1] == "train_classifier: interrupted"

    train("classifier")
    gone_on = epochs_trained(capsys)
    assert gone_on == list(range(gone_on[0], 7))
    assert gone_on[0] > 2
    found = outputs(prepared)
    shutil.rmtree(".training")
    train("classifier")
    assert epochs_trained(capsys) == [1, 2, 3, 4, 5, 6]
    assert outputs(prepared) == found


@pytest.mark.slow
def test_a_training_in_16_bits_gives_a_plain_float32_checkpoint(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.training.setup.keras_policy", lambda precision: "mixed_bfloat16")
    write_params(prepared, **tiny(train_classifier={"architecture": "mini_xception"}))
    train("classifier")
    model = keras.models.load_model("data/models/classifier.keras")
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}, "no layer of ours"
    best = pd.read_csv("data/history/classifier.csv")["val_loss"].min()
    assert validation_loss("classifier") == pytest.approx(best, rel=0.02)


def write_broken_state(finished: Path) -> None:
    """As that of a training after one epoch in which a weight overflowed: no allowed learning rate does that here."""
    with np.load(finished) as file:
        arrays = {name: file[name] for name in file.files}
    broken = {name: np.full_like(value, np.nan) for name, value in arrays.items() if value.dtype == np.float32}
    meta = json.loads(arrays["meta"].item())
    Path(".training").mkdir()
    np.savez(
        Path(".training", finished.name),
        **arrays | broken | {"meta": json.dumps(meta | {"history": meta["history"][:1]})},
    )


def test_a_loss_that_is_not_finite_ends_the_stage_with_one_line_and_the_run_as_failed(
    trained: Path, copied: Path, sigterm: None
) -> None:
    write_broken_state(*trained.glob(".training/classifier-*.npz"))
    with pytest.raises(SystemExit) as ended:
        run(train, "classifier")  # a message as the code: it goes to stderr, the exit status is 1
    assert ended.value.code == "train_classifier: epoch 2: loss is nan; a lower learning_rate may help"
    assert only_run("classifier").info.status == "FAILED"
    assert not Path("data/models/classifier.keras").exists()


def test_data_that_is_not_there_is_one_line_and_no_run(copied: Path, sigterm: None) -> None:
    Path("data/prepared/classifier/images.npy").unlink()
    with pytest.raises(
        SystemExit, match=r"^train_classifier: data/prepared/classifier: .*`dvc repro preprocess_classifier`"
    ):
        run(train, "classifier")
