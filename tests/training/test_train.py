"""A training from its prepared pictures to its checkpoint: what it leaves, what it says, how it goes on."""

import contextlib
import io
import shutil
from pathlib import Path

import keras
import pandas as pd
import pytest

from pipeline.data.dataset import load_dataset
from pipeline.inputs import content_md5
from pipeline.tasks import TASKS
from pipeline.train import growing_history, train
from tests.helpers.project import FROM_OUTSIDE, start_stage, tiny, write_params, write_prepared
from tests.helpers.training import contradict_training, epochs_trained, states, train_until

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


def test_the_history_grows_with_the_epochs_and_an_interruption_leaves_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, checkpoint = Path("data/history/classifier.csv"), Path("data/models/classifier.keras")

    def work() -> None:
        with growing_history("classifier") as write:
            write([{"epoch": 1, "loss": 0.5}])
            assert file.read_text() == "epoch,loss\n1,0.5\n"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not file.exists()
    checkpoint.parent.mkdir()
    checkpoint.touch()  # of an earlier training
    with growing_history("classifier") as write:
        write([{"epoch": 1, "loss": 0.5}])
    assert not file.exists()


def test_an_interrupted_training_trains_each_epoch_once_and_gives_the_bytes_of_an_uninterrupted_one(
    trained: Path, prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    contradict_training(prepared / "data/prepared/classifier")
    write_params(prepared, **PARAMS)
    train_until("classifier", "epoch 2/3")
    assert not Path("data/history/classifier.csv").exists(), "the state has the epochs"
    bold = PARAMS | {"train_classifier": PARAMS["train_classifier"] | {"learning_rate": 0.002}}
    write_params(prepared, **bold)
    train_until("classifier", "epoch 1/3")  # has a state of its own
    write_params(prepared, **PARAMS)
    capsys.readouterr()
    train("classifier")
    assert epochs_trained(capsys) == [3]
    assert outputs(prepared) == outputs(trained)

    shutil.rmtree("data/models")  # killed before DVC stored them
    train("classifier")
    assert epochs_trained(capsys) == []
    write_params(prepared, **bold)
    train_until("classifier", "epoch 3/3")
    assert outputs(prepared) == outputs(trained), "beside a checkpoint lies its own history"
    assert len(states()) == 2


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_bytes_of_an_uninterrupted_one(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    # Augmentation, dropout and batch normalization have states of their own.
    given = {"architecture": "mini_xception", "augmentation": "chapter", "epochs": 6}
    write_params(prepared, **tiny(train_classifier=given))
    process = start_stage(prepared, "train", "classifier")
    for line in process.stdout:
        if "epoch 2/6" in line:
            process.kill()
            break
    process.communicate(timeout=60)

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
