"""The canonical checkpoint file, and the state from which a training goes on."""

import io
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.inputs import content_md5
from pipeline.models import mini_xception
from pipeline.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from tests.helpers.project import REPOSITORY


def new_model() -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    return mini_xception(32)


def compiled_model() -> keras.Model:
    model = new_model()
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    return model


def test_the_same_weights_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    model = new_model()
    save_checkpoint(model, model.get_weights(), tmp_path / "here.keras")
    code = (
        "import sys; from pathlib import Path; from tests.test_checkpoint import *;"
        "model = new_model(); save_checkpoint(model, model.get_weights(), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there.keras"], check=True, cwd=REPOSITORY)
    assert (tmp_path / "here.keras").read_bytes() == (tmp_path / "there.keras").read_bytes()


def test_other_weights_give_other_bytes(tmp_path: Path) -> None:
    model = new_model()
    save_checkpoint(model, model.get_weights(), tmp_path / "a.keras")
    save_checkpoint(model, [value + 1 for value in model.get_weights()], tmp_path / "b.keras")
    assert content_md5(tmp_path / "a.keras") != content_md5(tmp_path / "b.keras")


def test_a_checkpoint_holds_the_given_values_and_no_optimizer(tmp_path: Path) -> None:
    model = new_model()
    given = [value + 1 for value in model.get_weights()]
    save_checkpoint(model, given, tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert not loaded.compiled
    for found, expected in zip(loaded.get_weights(), given, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (tmp_path / "a.keras").stat().st_size < 4 * model.count_params() + 200_000
    assert [file.name for file in tmp_path.iterdir()] == ["a.keras"]


def test_a_checkpoint_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("not a model")
    for name, says in (("text", "not a Keras checkpoint: .+"), ("missing", "no such file; `dvc repro` makes it")):
        with pytest.raises(InputError, match=rf"{tmp_path}/{name}.keras: {says}") as raised:
            load_checkpoint(tmp_path / f"{name}.keras")
        assert "\n" not in str(raised.value)


def test_the_state_puts_a_fresh_model_exactly_where_the_trained_one_was(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    labels = np.array([[0], [1]] * 4)
    trained, state = compiled_model(), TrainingState(tmp_path / "state.npz", epochs=2)
    state.run_id = "some run"
    trained.fit(pictures, labels, epochs=2, validation_data=(pictures, labels), callbacks=[state], verbose=0)

    fresh, restored = compiled_model(), TrainingState(tmp_path / "state.npz", epochs=2)
    restored.restore(fresh)

    assert (restored.run_id, restored.history) == ("some run", state.history)
    everything = [*trained.variables, *trained.optimizer.variables], [*fresh.variables, *fresh.optimizer.variables]
    assert any("seed_generator" in variable.path for variable in everything[0])
    for expected, found in zip(*everything, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=expected.path)
    for expected, found in zip(state.best, restored.best, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_state_before_the_first_epoch_keeps_the_run(tmp_path: Path) -> None:
    state = TrainingState(tmp_path / "state.npz", epochs=2)
    state.restore(compiled_model())
    state.run_id = "some run"
    state.save()
    restored = TrainingState(tmp_path / "state.npz", epochs=2)
    restored.restore(compiled_model())
    assert (restored.run_id, restored.history, restored.best) == ("some run", [], [])
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def without_meta(content: bytes) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files if name != "meta"}
    np.savez(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


def with_directory(content: bytes, place: int, value: int) -> bytes:
    """Another byte in the first entry of the zip's directory: 6 is the version that reads it, 8 says encrypted."""
    start = content.index(b"PK\1\2") + place
    return content[:start] + bytes([value]) + content[start + 1 :]


def an_array() -> bytes:
    np.save(buffer := io.BytesIO(), np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"This is no state.\n",
        lambda content: content[: len(content) // 2],
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda content: with_directory(content, 6, 109),
        lambda content: with_directory(content, 8, 1),
        lambda content: an_array(),
        without_meta,
    ],
    ids=["empty", "text", "cut off", "a flipped bit", "version", "encrypted", "an array", "without its description"],
)
def test_a_damaged_state_is_one_printed_line_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage
) -> None:
    state, path = TrainingState(tmp_path / "state.npz", epochs=2), tmp_path / "state.npz"
    state.restore(compiled_model())
    state.run_id = "some run"
    state.save()
    path.write_bytes(damage(path.read_bytes()))

    model, restored = compiled_model(), TrainingState(path, epochs=2)
    restored.restore(model)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: damaged, the training starts afresh")
    assert (restored.run_id, restored.history, restored.best) == (None, [], [])
    for found, expected in zip(model.get_weights(), compiled_model().get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "value"), [("loss", float("nan")), ("val_loss", float("inf"))])
def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_epoch(
    tmp_path: Path, name: str, value: float
) -> None:
    state = TrainingState(tmp_path / "state.npz", epochs=2)
    logs = {"loss": 1.0, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5} | {name: value}
    with pytest.raises(InputError, match=rf"epoch 4: {name} is {value}; a lower learning_rate"):
        state.on_epoch_end(3, logs)
    assert not state.path.exists()
