"""The state from which a training goes on, and its name, which all that decides the result decides."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.errors import InputError
from pipeline.training import state as state_module
from pipeline.training.state import TrainingState, state_path

PICTURES = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
LABELS = np.array([[0], [1]] * 4)


def compiled_model() -> keras.Model:
    """Moving statistics, dropout and optimizer have states of their own."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    stack = [layers.Flatten(), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((4, 4, 3)), *stack])
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)  # tracing takes seconds
    model.optimizer.build(model.trainable_variables)
    return model


def everything(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables + model.optimizer.variables]


def trained(path: Path, epochs: int, of: int) -> tuple[keras.Model, TrainingState]:
    """A training of `of` epochs, some of them done, perhaps by an earlier one."""
    model, state = compiled_model(), TrainingState(path, of)
    state.restore(model)
    options = {"validation_data": (PICTURES, LABELS), "callbacks": [state], "shuffle": False, "verbose": 0}
    model.fit(PICTURES, LABELS, initial_epoch=len(state.history), epochs=epochs, **options)
    return model, state


def test_a_training_that_goes_on_ends_where_an_uninterrupted_one_does_and_a_finished_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    expected, whole = trained(tmp_path / "whole.npz", 2, of=2)
    _, first = trained(tmp_path / "split.npz", 1, of=2)
    found, second = trained(tmp_path / "split.npz", 2, of=2)
    assert second.history == whole.history
    assert any("seed_generator" in variable.path for variable in expected.variables)
    for ours, theirs in zip([*everything(found), *second.best], [*everything(expected), *whole.best], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert second.seconds > first.seconds > 0, "the time of both sessions"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["split.npz", "whole.npz"]

    assert capsys.readouterr().out == ""
    _, third = trained(tmp_path / "split.npz", 2, of=2)
    says = "this training is finished, the outputs come from it; to train anew, delete that file"
    assert capsys.readouterr().out == f"{tmp_path / 'split.npz'}: {says}\n"
    assert third.seconds == second.seconds, "without what passed between them"


def test_the_best_weights_are_those_of_the_lowest_validation_loss_the_first_of_equal_ones(tmp_path: Path) -> None:
    model, state = compiled_model(), TrainingState(tmp_path / "state.npz", 4)
    state.restore(model)
    state.on_train_begin()
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.0]):
        model.layers[-1].bias.assign([epoch])
        state.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5, "val_loss": loss, "val_accuracy": 0.5})
    assert state.best[-1] == [1]


DAMAGES = {
    "cut off": lambda content: content[: len(content) // 2],
    "a flipped bit": lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_one_printed_line_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage: str
) -> None:
    path, state = tmp_path / "state.npz", TrainingState(tmp_path / "state.npz", 2)
    state.restore(compiled_model())
    state.save()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))

    model, restored = compiled_model(), TrainingState(path, 2)
    restored.restore(model)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path}: damaged, the training starts afresh")
    assert (restored.history, restored.best, restored.seconds) == ([], [], 0)
    for found, expected in zip(everything(model), everything(compiled_model()), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_epoch(tmp_path: Path) -> None:
    state = TrainingState(tmp_path / "state.npz", epochs=2)
    with pytest.raises(InputError, match=r"epoch 4: val_loss is inf; a lower learning_rate"):
        state.on_epoch_end(3, {"loss": 1.0, "accuracy": 0.5, "val_loss": float("inf"), "val_accuracy": 0.5})
    assert not state.path.exists()


def test_a_state_is_named_by_all_that_decides_the_last_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"train_classifier": {"epochs": 3}, "data/prepared/classifier": "1.dir", "pipeline/train.py": "2"}

    def name(**changes: object) -> str:
        return state_path("classifier", inputs | changes, "float32").name

    usual = name()
    assert usual == name()
    assert usual.startswith("classifier-")
    found = [usual, name(train_classifier={"epochs": 4}), name(**{"pipeline/train.py": None})]
    for variable, value in (("TF_NUM_INTRAOP_THREADS", "99"), ("XLA_FLAGS", "--xla_cpu_enable_fast_math")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            found.append(name())
    monkeypatch.setattr(state_module, "device", lambda precision: "NVIDIA H100")
    found.append(name())
    assert len(set(found)) == len(found)
