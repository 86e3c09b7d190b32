"""The twin that trains against the plain model of Keras' own layers: the same weights, function and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipeline.models import ARCHITECTURES
from pipeline.training.twin import FusedBatchNormalization, TurnedConvolution, is_augmented, training_twin

SMALL = {"encoder_decoder": 16, "mini_xception": 32, "naive": 78, "residual": 32}  # pixels; quick to run
AUGMENTED = {"mini_xception", "naive"}


def model_of(name: str) -> keras.Model:
    """With biases, scales and moving statistics unlike the initial ones: those of 0 and 1 would hide a mistake."""
    keras.utils.set_random_seed(0)
    model, rng = ARCHITECTURES[name](SMALL[name]), np.random.default_rng(1)
    vectors = [weight for weight in model.weights if len(weight.shape) == 1]
    for weight in vectors:
        weight.assign(weight + rng.uniform(0, 0.2, weight.shape))
    return model


def pictures(size: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def targets_of(model: keras.Model, count: int = 4) -> np.ndarray:
    shape = (count, *model.output_shape[1:-1]) if len(model.output_shape) == 4 else (count, 1)
    return np.random.default_rng(2).integers(0, 2, shape, np.uint8)


def losses(model: keras.Model, from_logits: bool) -> keras.losses.Loss:
    kind = (
        keras.losses.SparseCategoricalCrossentropy if len(model.output_shape) == 4 else keras.losses.BinaryCrossentropy
    )
    return kind(from_logits=from_logits)


def without_chance(model: keras.Model) -> keras.Model:
    """The plain model with its augmentation and dropout off, so that training is a function."""

    def quiet(layer: layers.Layer) -> layers.Layer:
        if isinstance(layer, (layers.RandomFlip, layers.RandomRotation, layers.RandomZoom, layers.Dropout)):
            return layers.Identity(name=layer.name)
        return type(layer).from_config(layer.get_config())

    clone = keras.models.clone_model(model, clone_function=quiet)
    clone.set_weights(model.get_weights())
    return clone


def gradients(model: keras.Model, from_logits: bool, name: str) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        outputs = model(pictures(SMALL[name]), training=True)
        loss = losses(model, from_logits)(targets_of(model), outputs)
    return [np.asarray(one) for one in tape.gradient(loss, [v.value for v in model.trainable_variables])]


@pytest.mark.parametrize("name", SMALL)
def test_a_twin_has_the_weights_of_its_model_in_the_same_order(name):
    model = model_of(name)
    twin = training_twin(model, "float32")
    assert [weight.path for weight in twin.weights] == [weight.path for weight in model.weights]
    for ours, theirs in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", SMALL)
def test_a_twins_output_is_the_logits_of_what_its_model_predicts(name):
    model = model_of(name)
    logits = training_twin(model, "float32").predict(pictures(SMALL[name]), verbose=0)
    probabilities = (keras.ops.sigmoid if logits.shape[-1] == 1 else keras.ops.softmax)(logits)
    np.testing.assert_allclose(probabilities, model.predict(pictures(SMALL[name]), verbose=0), atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_of_a_twin_has_the_gradients_and_the_moving_statistics_of_its_model(name):
    plain = without_chance(model_of(name))
    twin = training_twin(plain, "float32")
    for ours, theirs in zip(gradients(twin, True, name), gradients(plain, False, name), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())
    for ours, theirs in zip(twin.get_weights(), plain.get_weights(), strict=True):  # the step moved the statistics
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_in_bfloat16_a_twins_logits_are_float32_and_close(name):
    model = model_of(name)
    exact, close = (
        training_twin(model, policy).predict(pictures(SMALL[name]), verbose=0)
        for policy in ("float32", "mixed_bfloat16")
    )
    assert close.dtype == np.float32
    assert np.abs(close - exact).max() < 0.1 * np.abs(exact).max()
    assert not np.array_equal(close, exact)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_16_bits_the_weights_stay_float32(policy):
    twin = training_twin(model_of("mini_xception"), policy)
    assert {weight.dtype for weight in twin.weights} == {"float32"}
    assert {layer.compute_dtype for layer in twin.layers if layer.weights} == {policy.removeprefix("mixed_")}


def test_a_twin_computes_by_the_faster_layers():
    kinds = [type(layer) for layer in training_twin(model_of("mini_xception"), "float32").layers]
    assert (kinds.count(FusedBatchNormalization), layers.BatchNormalization in kinds) == (10, False)
    kinds = [type(layer) for layer in training_twin(model_of("encoder_decoder"), "float32").layers]
    assert (kinds.count(TurnedConvolution), kinds.count(layers.Conv2DTranspose)) == (3, 3)


@pytest.mark.parametrize("name", SMALL)
def test_a_twin_leaves_augmentation_to_the_batches(name):
    model = model_of(name)
    twin = training_twin(model, "float32")
    assert (is_augmented(model), is_augmented(twin)) == (name in AUGMENTED, False)


def test_a_twin_leaves_its_model_as_it_was():
    model = model_of("mini_xception")
    before = model.get_config(), model.get_weights()
    gradients(training_twin(model, "float32"), True, "mini_xception")
    assert model.get_config() == before[0]
    for now, then in zip(model.get_weights(), before[1], strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_moving_variance_of_a_single_value_is_zero_as_keras_has_it():
    fused, plain = FusedBatchNormalization(), layers.BatchNormalization()
    for layer in (fused, plain):
        layer(np.ones((1, 1, 1, 2), np.float32), training=True)
    for ours, theirs in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
