"""What a training starts from: the seed decides it, the pictures fit it, and its twin is checked."""

import re
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from pipeline.data.dataset import Dataset
from pipeline.errors import InputError
from pipeline.params import TrainClassifier
from pipeline.training import setup
from pipeline.training.setup import build_model, new_models
from pipeline.training.twin import TurnedConvolution


def params(**changes: object) -> TrainClassifier:
    usual = {"epochs": 1, "batch_size": 4, "learning_rate": 0.001, "augmentation": "none", "precision": "float32"}
    more = {"jit_compile": False, "replicas": 1, "seed": 0, "architecture": "residual"}
    return TrainClassifier(**usual | more | changes)


def dataset(size: int, masks: bool = False) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    targets = np.full((4, size, size) if masks else (4, 1), 2 if masks else 1, np.uint8)
    return Dataset(pd.DataFrame({"split": ["train"] * 4}), images, targets)


def architecture(monkeypatch: pytest.MonkeyPatch, task: str, *stack: layers.Layer) -> None:
    """A file `new.py` of a user's, which stacks these layers."""

    def build(size: int) -> keras.Model:
        return keras.Sequential([keras.Input((size, size, 3)), *stack], name="new")

    monkeypatch.setitem(sys.modules, f"pipeline.models.{task}.new", SimpleNamespace(build=build))


def test_the_seed_decides_the_weights_and_names_of_a_model_and_its_twin(capsys: pytest.CaptureFixture) -> None:
    found = []
    for seed in (0, 0, 1):
        model, twin = new_models("classifier", params(seed=seed), dataset(16))
        variables = [*model.variables, *twin.variables, *twin.optimizer.variables]
        found.append([(variable.path, np.asarray(variable).tobytes()) for variable in variables])
    assert found[0] == found[1] != found[2]
    assert [name for name, _ in found[0]] == [name for name, _ in found[2]]
    assert capsys.readouterr().out == 3 * f"residual: {model.count_params():,} parameters, on CPU, float32\n"


def test_the_optimizer_has_the_learning_rate_and_scales_the_loss_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "keras_policy", lambda precision: "mixed_float16")
    model, twin = new_models("classifier", params(learning_rate=0.25), dataset(16))
    assert isinstance(twin.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(twin.optimizer.inner_optimizer, keras.optimizers.RMSprop)
    assert float(twin.optimizer.learning_rate) == 0.25
    assert not model.compiled


def test_an_architecture_that_cannot_be_built_for_the_picture_size_is_one_line() -> None:
    line = r"^params.yaml: train_classifier.architecture: naive: cannot be built for pictures of 77 x 77 pixels: .*$"
    with pytest.raises(InputError, match=line):
        build_model("classifier", "naive", dataset(77))


@pytest.mark.parametrize(
    ("task", "stack", "gives"),
    [
        ("segmenter", [layers.Conv2D(3, 1, strides=2)], "(None, 8, 8, 3)"),
        ("segmenter", [layers.Conv2D(2, 1)], "(None, 16, 16, 2)"),
        ("classifier", [layers.Conv2D(1, 1)], "(None, 16, 16, 1)"),
        ("classifier", [layers.Flatten(), layers.Dense(2, activation="softmax")], "(None, 2)"),
    ],
)
def test_an_output_that_does_not_fit_the_targets_is_one_line(
    monkeypatch: pytest.MonkeyPatch, task: str, stack: list, gives: str
) -> None:
    architecture(monkeypatch, task, *stack)
    classes, allowed = {"segmenter": (3, "(None, 16, 16, 3)"), "classifier": (2, "(None, 1)")}[task]
    found = f"gives {gives} for pictures of 16 x 16 pixels in {classes} classes; allowed: {allowed}"
    with pytest.raises(InputError, match=rf"^params.yaml: train_{task}.architecture: new: {re.escape(found)}$"):
        build_model(task, "new", dataset(16, masks=task == "segmenter"))


def test_a_layer_that_would_move_a_picture_and_not_its_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture(monkeypatch, "segmenter", layers.RandomFlip(name="flip"), layers.Conv2D(3, 1))
    line = "its layer flip changes a picture and not its mask; train_segmenter.augmentation moves both"
    with pytest.raises(InputError, match=line):
        build_model("segmenter", "new", dataset(16, masks=True))


def test_an_architecture_whose_twin_computes_something_else_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = layers.Conv2DTranspose(3, 3, padding="same", dilation_rate=2, activation="softmax")
    architecture(monkeypatch, "segmenter", wrong)
    monkeypatch.setattr(TurnedConvolution, "replaces", lambda layer: isinstance(layer, layers.Conv2DTranspose))
    given = params().model_copy(update={"architecture": "new"})
    with pytest.raises(InputError, match=r"^new: the output differs in training from the model's, by up to .*, please"):
        new_models("segmenter", given, dataset(16, masks=True))
