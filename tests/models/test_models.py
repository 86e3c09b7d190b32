"""The architectures against the chapter, and what every model owes the rest of the pipeline."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

# Pixels of small pictures, which are quick; pixels of the chapter's, and the number of parameters for these.
ARCHITECTURES = {
    "segmenter.encoder_decoder": (16, 200, 2_880_643),
    "classifier.mini_xception": (32, 180, 721_857),
    "classifier.naive": (78, 180, 991_041),
    "classifier.residual": (32, 32, 297_697),
}
SMALL = {name: sizes[0] for name, sizes in ARCHITECTURES.items()}


def build(name: str, size: int) -> keras.Model:
    return import_module(f"pipeline.models.{name}").build(size)


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    """Every architecture at a small size, with random weights."""
    keras.utils.set_random_seed(0)
    return {name: build(name, size) for name, size in SMALL.items()}


def pictures(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_chapters_parameter_counts(name: str) -> None:
    _, size, parameters = ARCHITECTURES[name]
    assert build(name, size).count_params() == parameters


@pytest.mark.parametrize("name", SMALL)
def test_a_model_has_its_files_name_takes_bytes_gives_shares_and_augments_nothing(
    models: dict[str, keras.Model], name: str
) -> None:
    size, model = SMALL[name], models[name]
    assert name.endswith(f".{model.name}")
    data, found = pictures(size), np.asarray(model(pictures(size)))
    (rescaling,) = (layer for layer in model.layers if isinstance(layer, layers.Rescaling))
    np.testing.assert_allclose(keras.Model(model.input, rescaling.output)(data), data / 255, atol=1e-6)
    np.testing.assert_array_equal(model(data), found)  # nothing is drawn by lot in a plain call
    assert ((found > 0) & (found < 1)).all()
    if name.startswith("segmenter"):
        assert found.shape == (3, size, size, 3)
        np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    else:
        assert found.shape == (3, 1)
        assert len(np.unique(found)) == 3, "it looks at the picture"


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
