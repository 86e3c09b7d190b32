"""The architectures against the chapter, and what every model owes the rest of the pipeline."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

SMALL = {
    "segmenter.encoder_decoder": 16,
    "classifier.mini_xception": 32,
    "classifier.naive": 78,
    "classifier.residual": 32,
}  # pixels; quick to run


def build(name: str, size: int) -> keras.Model:
    return import_module(f"pipeline.models.{name}").build(size)


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    """Every architecture at a small size, with random weights."""
    keras.utils.set_random_seed(0)
    return {name: build(name, size) for name, size in SMALL.items()}


def pictures(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "size", "parameters"),
    [
        ("segmenter.encoder_decoder", 200, 2_880_643),
        ("classifier.mini_xception", 180, 721_857),
        ("classifier.naive", 180, 991_041),
        ("classifier.residual", 32, 297_697),
    ],
)
def test_the_chapters_parameter_counts(name: str, size: int, parameters: int) -> None:
    assert build(name, size).count_params() == parameters


def test_a_model_has_the_name_of_its_file(models: dict[str, keras.Model]) -> None:
    assert all(name.endswith(f".{model.name}") for name, model in models.items())


def test_the_segmenter_gives_every_pixel_three_shares_that_sum_to_one(models: dict[str, keras.Model]) -> None:
    shares = np.asarray(models["segmenter.encoder_decoder"](pictures(16)))
    assert shares.shape == (3, 16, 16, 3)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in SMALL if name.startswith("classifier")])
def test_a_classifier_gives_every_picture_a_probability(models: dict[str, keras.Model], name: str) -> None:
    probabilities = np.asarray(models[name](pictures(SMALL[name])))
    assert probabilities.shape == (3, 1)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert len(np.unique(probabilities)) == 3  # it looks at the picture


@pytest.mark.parametrize("name", SMALL)
def test_a_model_rescales_bytes_to_0_1_and_augments_nothing_in_a_plain_call(
    models: dict[str, keras.Model], name: str
) -> None:
    data, model = pictures(SMALL[name]), models[name]
    (rescaling,) = (layer for layer in model.layers if isinstance(layer, layers.Rescaling))
    np.testing.assert_allclose(keras.Model(model.input, rescaling.output)(data), data / 255, atol=1e-6)
    np.testing.assert_array_equal(model(data), model(data))


@pytest.mark.slow
def test_a_saved_model_predicts_the_same_in_a_process_without_this_project(
    models: dict[str, keras.Model], tmp_path: Path
) -> None:
    program = """if True:
        import importlib.util, sys
        assert importlib.util.find_spec("pipeline") is None
        import keras, numpy
        for name in sys.argv[1:]:
            numpy.save(f"{name}-predictions.npy", keras.models.load_model(f"{name}.keras")(numpy.load(f"{name}.npy")))
    """
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", pictures(SMALL[name]))
    command = [sys.executable, "-I", "-c", program, *SMALL]  # -I: no PYTHONPATH, no current folder
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    for name, model in models.items():
        expected = model(pictures(SMALL[name]))
        np.testing.assert_allclose(np.load(tmp_path / f"{name}-predictions.npy"), expected, atol=1e-6)
