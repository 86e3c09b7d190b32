"""The architectures against the chapter, layer by layer, and what every model owes the rest of the pipeline."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.models.classifier import mini_xception, naive, residual
from pipeline.models.segmenter import encoder_decoder

SMALL = {"encoder_decoder": 16, "mini_xception": 32, "naive": 78, "residual": 32}  # pixels; quick to run
MODULES = {"encoder_decoder": encoder_decoder, "mini_xception": mini_xception, "naive": naive, "residual": residual}


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    """Every architecture at a small size, with random weights."""
    keras.utils.set_random_seed(0)
    return {name: MODULES[name].build(size) for name, size in SMALL.items()}


def pictures(size: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def of_type(model: keras.Model, *types: type) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if isinstance(layer, types)]


def network_input(model: keras.Model) -> keras.Model:
    """The part of the model before its first convolution."""
    return keras.Model(model.input, of_type(model, layers.Rescaling)[0].output)


@pytest.mark.parametrize(
    ("architecture", "size", "parameters"),
    [
        (encoder_decoder, 200, 2_880_643),
        (mini_xception, 180, 721_857),
        (naive, 180, 991_041),
        (residual, 32, 297_697),
    ],
)
def test_the_chapters_parameter_counts(architecture, size, parameters):
    assert architecture.build(size).count_params() == parameters


def test_the_names_in_the_parameters_are_the_models_names(models):
    assert {name: model.name for name, model in models.items()} == {name: name for name in SMALL}


def test_the_segmenter_halves_and_doubles_three_times(models):
    convolutions = of_type(models["encoder_decoder"], layers.Conv2D, layers.Conv2DTranspose)
    down, up = "Conv2D", "Conv2DTranspose"
    assert [(type(layer).__name__, layer.filters, layer.strides[0]) for layer in convolutions] == [
        (down, 64, 2), (down, 64, 1), (down, 128, 2), (down, 128, 1), (down, 256, 2), (down, 256, 1),
        (up, 256, 1), (up, 256, 2), (up, 128, 1), (up, 128, 2), (up, 64, 1), (up, 64, 2),
        (down, 3, 1),
    ]  # fmt: skip
    assert {(layer.kernel_size, layer.padding) for layer in convolutions} == {((3, 3), "same")}
    assert [layer.activation.__name__ for layer in convolutions] == ["relu"] * 12 + ["softmax"]


@pytest.mark.parametrize("size", [16, 64])
def test_the_segmenter_gives_every_pixel_of_its_picture_three_shares_that_sum_to_one(size):
    shares = np.asarray(encoder_decoder.build(size)(pictures(size, 2)))
    assert shares.shape == (2, size, size, 3)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["mini_xception", "naive", "residual"])
def test_a_classifier_gives_every_picture_a_probability(models, name):
    probabilities = np.asarray(models[name](pictures(SMALL[name])))
    assert probabilities.shape == (3, 1)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert len(np.unique(probabilities)) == 3  # it looks at the picture


def test_mini_xception_is_a_convolution_and_five_blocks_of_normalize_relu_separable_twice_then_pooling(models):
    model = models["mini_xception"]
    shortcuts = [layer for layer in of_type(model, layers.Conv2D) if layer.kernel_size == (1, 1)]
    on_the_side = [*shortcuts, *of_type(model, layers.Add)]
    main_path = [type(layer).__name__ for layer in model.layers if layer not in on_the_side]
    half_block = ["BatchNormalization", "Activation", "SeparableConv2D"]
    assert main_path == [
        *("InputLayer", "Rescaling", "Conv2D"),
        *5 * [*half_block, *half_block, "MaxPooling2D"],
        *("GlobalAveragePooling2D", "Dropout", "Dense"),
    ]
    stem = of_type(model, layers.Conv2D)[0]
    assert (stem.filters, stem.kernel_size, stem.strides, stem.padding) == (32, (5, 5), (1, 1), "valid")
    assert {layer.activation.__name__ for layer in of_type(model, layers.Activation)} == {"relu"}
    separable = of_type(model, layers.SeparableConv2D)
    assert [layer.filters for layer in separable] == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    assert {(layer.kernel_size, layer.padding) for layer in separable} == {((3, 3), "same")}
    pooling = of_type(model, layers.MaxPooling2D)
    assert {(layer.pool_size, layer.strides, layer.padding) for layer in pooling} == {((3, 3), (2, 2), "same")}
    assert (of_type(model, layers.Dropout)[0].rate, model.layers[-1].activation.__name__) == (0.5, "sigmoid")


def test_mini_xception_adds_to_each_block_a_projection_of_the_blocks_input(models):
    model = models["mini_xception"]
    shortcuts = [layer for layer in of_type(model, layers.Conv2D) if layer.kernel_size == (1, 1)]
    assert [layer.filters for layer in shortcuts] == [32, 64, 128, 256, 512]
    assert {(layer.strides, layer.padding) for layer in shortcuts} == {((2, 2), "same")}
    block_starts = of_type(model, layers.BatchNormalization)[::2]
    poolings, sums = of_type(model, layers.MaxPooling2D), of_type(model, layers.Add)
    for shortcut, start, pooling, total in zip(shortcuts, block_starts, poolings, sums, strict=True):
        assert shortcut.input is start.input
        assert {id(tensor) for tensor in total.input} == {id(pooling.output), id(shortcut.output)}


def test_the_convolutions_of_mini_xception_have_neither_bias_nor_activation(models):
    convolutions = of_type(models["mini_xception"], layers.Conv2D, layers.SeparableConv2D)
    assert len(convolutions) == 16
    assert {(layer.use_bias, layer.activation.__name__) for layer in convolutions} == {(False, "linear")}


def test_the_naive_convnet_is_convolutions_with_poolings_between(models):
    model = models["naive"]
    assert [type(layer).__name__ for layer in model.layers] == [
        *("InputLayer", "Rescaling"),
        *4 * ["Conv2D", "MaxPooling2D"],
        *("Conv2D", "Flatten", "Dropout", "Dense"),
    ]
    convolutions = of_type(model, layers.Conv2D)
    assert [layer.filters for layer in convolutions] == [32, 64, 128, 256, 256]
    assert {(c.kernel_size, c.padding, c.activation.__name__) for c in convolutions} == {((3, 3), "valid", "relu")}
    assert {(layer.pool_size, layer.strides) for layer in of_type(model, layers.MaxPooling2D)} == {((2, 2), (2, 2))}
    assert (of_type(model, layers.Dropout)[0].rate, model.layers[-1].activation.__name__) == (0.5, "sigmoid")


def test_the_naive_convnet_needs_78_pixels():
    assert naive.build(78).output_shape == (None, 1)
    with pytest.raises(ValueError, match=r"negative|size"):
        naive.build(77)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_takes_bytes_and_rescales_them_to_0_1(models, name):
    data = pictures(SMALL[name])
    as_bytes, as_floats = (models[name](data.astype(dtype)) for dtype in (np.uint8, np.float32))
    np.testing.assert_array_equal(as_bytes, as_floats)
    np.testing.assert_allclose(network_input(models[name])(data), data / 255, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_a_plain_call_of_a_model_gives_the_same_twice(models, name):
    """Augmentation is the batches': Keras' layers of it would be on here."""
    data = pictures(SMALL[name])
    np.testing.assert_array_equal(models[name](data), models[name](data))


@pytest.mark.slow
def test_a_saved_model_predicts_the_same_in_a_process_without_this_project(models, tmp_path):
    program = """if True:
        import importlib.util, sys
        assert importlib.util.find_spec("pipeline") is None
        import keras, numpy
        folder = sys.argv[1]
        for name in sys.argv[2:]:
            model = keras.models.load_model(f"{folder}/{name}.keras")
            pictures = numpy.load(f"{folder}/{name}.npy")
            numpy.save(f"{folder}/{name}-predictions.npy", model(pictures))
    """
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", pictures(SMALL[name]))
    command = [sys.executable, "-I", "-c", program, str(tmp_path), *SMALL]  # -I: no PYTHONPATH, no current folder
    subprocess.run(command, cwd="/", check=True, timeout=120)
    for name, model in models.items():
        expected = model(pictures(SMALL[name]))
        np.testing.assert_allclose(np.load(tmp_path / f"{name}-predictions.npy"), expected, atol=1e-6)
