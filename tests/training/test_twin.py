"""The twin that trains against its model of Keras' own layers: the same outputs, gradients and moving statistics.

Hypothesis draws architectures that nobody has written yet.
"""

from importlib import import_module

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, note, reject, settings
from keras import KerasTensor, layers

from pipeline.training.twin import FusedBatchNormalization, TurnedConvolution, check_twin, training_twin

# Pixels, normalizations that are fused, transposed convolutions that are turned.
COMMITTED = {
    "segmenter.encoder_decoder": (16, 0, 3),
    "classifier.mini_xception": (32, 10, 0),
    "classifier.residual": (32, 0, 0),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),  # Keras does; Hypothesis seeds it
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1 of a tensor of shape"),
]
RANDOM = (layers.RandomFlip, layers.RandomRotation, layers.RandomZoom, layers.RandomContrast, layers.Dropout)


def pictures(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, *model.input_shape[1:]), np.uint8)


def unlike_initial(model: keras.Model) -> keras.Model:
    """Biases, scales and moving statistics of 0 and 1 would hide a mistake."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(weight + rng.uniform(0, 0.2, weight.shape))
    return model


def of_stack(*stack: layers.Layer, size: int = 8) -> keras.Model:
    x = inputs = keras.Input((size, size, 3))
    for layer in stack:
        x = layer(x)
    return unlike_initial(keras.Model(inputs, x))


def with_end(*stack: layers.Layer) -> keras.Model:
    return of_stack(*stack, layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid"))


def gradients(model: keras.Model, loss: keras.losses.Loss) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        outputs = model(pictures(model), training=True)
        shape = (*outputs.shape[:-1], 1) if len(outputs.shape) == 2 else outputs.shape[:-1]
        targets = np.random.default_rng(2).integers(0, min(2, outputs.shape[-1] + 1), shape)
        value = loss(targets, outputs)
    found = tape.gradient(value, [variable.value for variable in model.trainable_variables])
    return [np.asarray(0 if one is None else one) for one in found]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray], part: float) -> None:
    """Up to this part of the largest of all values."""
    largest = max((np.abs(values).max() for values in expected), default=0)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=part * largest)


def assert_twin_is_the_model(model: keras.Model, part: float = 1e-3) -> None:
    """In inference; without random layers also a step of training: its gradients, and the statistics it moves.

    part: of the largest gradient, by which rounding may change it.
    """
    twin, loss, _ = training_twin(model, "float32")
    assert [weight.path for weight in twin.weights] == [weight.path for weight in model.weights]
    check_twin(model, pictures(model))
    if not any(isinstance(layer, RANDOM) and getattr(layer, "rate", 1) for layer in model.layers):
        plain = type(loss)(from_logits=False)
        assert_close(gradients(twin, loss), gradients(model, plain), part)
        for ours, theirs in zip(twin.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", COMMITTED)
def test_the_twin_of_a_committed_architecture_is_the_model_by_faster_layers(name: str) -> None:
    size, fused, turned = COMMITTED[name]
    keras.utils.set_random_seed(0)
    model = unlike_initial(import_module(f"pipeline.models.{name}").build(size))
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0
    assert_twin_is_the_model(model, part=0.03)  # of half a million relus, rounding turns one or two on or off
    kinds = [type(layer) for layer in training_twin(model, "float32")[0].layers]
    assert (kinds.count(FusedBatchNormalization), kinds.count(TurnedConvolution)) == (fused, turned)


def shared(x: KerasTensor) -> KerasTensor:
    head = layers.Dense(3, activation="softmax")
    return head(head(x))


def small() -> list[layers.Layer]:
    return [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Conv2DTranspose(3, 3, padding="same")]


ODD = {
    "normalization without scale": layers.BatchNormalization(scale=False),
    "normalization over rows": layers.BatchNormalization(axis=1),
    "normalization with less than the fused op's epsilon": lambda x: layers.BatchNormalization(epsilon=1e-7)(1e-5 * x),
    "frozen normalization": layers.BatchNormalization(trainable=False),
    "transposed convolution without bias": layers.Conv2DTranspose(4, 3, padding="same", use_bias=False),
    "dilated transposed convolution": layers.Conv2DTranspose(4, 3, padding="same", dilation_rate=2),
    "a model in the model": keras.Sequential(small()),
    "an operation that is no layer": lambda x: x + keras.ops.relu(x) / 2,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_layer_with_odd_options_trains_as_it_was_written(kind: str) -> None:
    assert_twin_is_the_model(with_end(layers.Conv2D(4, 3), ODD[kind]))


def test_a_sequential_model_has_a_twin_as_well() -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), *small(), layers.Softmax()])
    assert_twin_is_the_model(unlike_initial(model))


ENDS = {
    "sigmoid": (lambda: [layers.Dense(1, activation="sigmoid")], True),
    "sigmoid as a layer": (lambda: [layers.Dense(1), layers.Activation("sigmoid")], True),
    "softmax": (lambda: [layers.Dense(3, activation="softmax")], True),
    "softmax as a layer": (lambda: [layers.Dense(3), layers.Softmax()], True),
    "softmax over rows": (lambda: [layers.Reshape((2, 2, 1)), layers.Conv2D(3, 1), layers.Softmax(axis=1)], False),
    "softmax of one": (lambda: [layers.Dense(1, activation="softmax")], False),
    "sigmoid of several": (lambda: [layers.Dense(3, activation="sigmoid")], False),
    "softmax before another layer": (lambda: [layers.Dense(4, activation="softmax"), layers.Reshape((4,))], False),
    "a layer that is used twice": (lambda: [layers.Dense(3), shared], False),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_twin_ends_in_logits_where_the_loss_takes_them_else_in_probabilities(end: str) -> None:
    last, from_logits = ENDS[end]
    model = of_stack(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), *last())
    assert_twin_is_the_model(model)
    _, loss, accuracy = training_twin(model, "float32")
    assert loss.get_config()["from_logits"] is from_logits
    if model.output_shape[-1] == 1:
        edge = 0 if from_logits else 0.5
        assert float(accuracy([[0], [1]], np.array([[edge - 0.1], [edge + 0.1]]))) == 1


@pytest.mark.parametrize("chance", [layers.RandomFlip("vertical"), layers.RandomRotation(0.3), layers.Dropout(0.4)])
def test_random_layers_in_a_model_train_as_they_were_written(chance: layers.Layer) -> None:
    model = with_end(chance, layers.Conv2D(4, 3))
    twin, *_ = training_twin(model, "float32")
    ours, theirs = ([layer for layer in one.layers if isinstance(layer, RANDOM)] for one in (twin, model))
    assert [layer.get_config() for layer in ours] == [layer.get_config() for layer in theirs]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_16_bits_weights_outputs_and_what_prepares_the_pictures_stay_float32(policy: str) -> None:
    model = with_end(layers.Rescaling(1 / 255), layers.RandomFlip(), layers.Conv2D(4, 3), layers.BatchNormalization())
    twin, *_ = training_twin(model, policy)
    assert {weight.dtype for weight in twin.weights} == {"float32"}
    kinds = [layer.compute_dtype for layer in twin.layers]
    assert kinds == ["float32"] * 3 + [policy.removeprefix("mixed_")] * 4 + ["float32"]
    exact = training_twin(model, "float32")[0](pictures(model), training=False)
    close = twin(pictures(model), training=False)
    assert close.dtype == "float32"
    assert 0 < np.abs(close - exact).max() < 0.1 * np.abs(exact).max()


def test_the_moving_variance_of_a_single_value_is_zero_as_keras_has_it() -> None:
    fused, plain = FusedBatchNormalization(), layers.BatchNormalization()
    for layer in (fused, plain):
        layer(np.ones((1, 1, 1, 2), np.float32), training=True)
    assert_close(fused.get_weights(), plain.get_weights(), part=1e-6)


WIDTH = 4
flags, activations = st.booleans(), st.sampled_from([None, "relu", "elu", "sigmoid"])
paddings = st.sampled_from(["same", "valid"])
steps = st.sampled_from([{}, {"strides": 2}, {"dilation_rate": 2}])


def convolutions(kind: type, **options: st.SearchStrategy) -> st.SearchStrategy[layers.Layer]:
    drawn = {"kernel_size": st.integers(1, 3), "padding": paddings, "use_bias": flags, "activation": activations}
    return st.tuples(st.fixed_dictionaries(drawn | options), steps).map(lambda both: kind(**both[0], **both[1]))


hidden = st.one_of(
    convolutions(layers.Conv2D, filters=st.just(WIDTH), groups=st.sampled_from([1, 1, 2])),
    convolutions(layers.Conv2DTranspose, filters=st.just(WIDTH)),
    convolutions(layers.Conv2DTranspose, filters=st.just(WIDTH)),
    convolutions(layers.SeparableConv2D, filters=st.just(WIDTH)),
    convolutions(layers.DepthwiseConv2D),
    st.builds(
        layers.BatchNormalization,
        axis=st.sampled_from([-1, -1, 3, 1, 2]),
        momentum=st.sampled_from([0.99, 0.5]),
        epsilon=st.sampled_from([1e-3, 1e-2, 1e-6]),
        center=flags,
        scale=flags,
        trainable=flags,
    ),
    st.builds(layers.BatchNormalization),
    st.builds(layers.LayerNormalization),
    st.builds(layers.Activation, st.sampled_from(["relu", "tanh", "softmax"])),
    st.builds(layers.MaxPooling2D, st.integers(1, 2), padding=paddings),
    st.builds(layers.AveragePooling2D, st.integers(1, 2), padding=paddings),
    st.builds(layers.UpSampling2D),
    st.builds(layers.Dropout, st.just(0.5)),
    st.sampled_from(RANDOM[:2]).map(lambda kind: kind(*[0.2][: kind is layers.RandomRotation])),
)
preparing = st.sampled_from([[], [1 / 255], [1 / 127.5, -1]]).map(
    lambda given: [layers.Rescaling(*given)] if given else []
)
skips = st.sampled_from([None, None, layers.Add, layers.Concatenate])


@st.composite
def architectures(draw: st.DrawFn) -> keras.Model:
    """Up to six layers behind a convolution, some with a skip around them, and an end."""
    size = draw(st.sampled_from([8, 9]))
    x = inputs = keras.Input((size, size, 3))
    for layer in [*draw(preparing), layers.Conv2D(WIDTH, 3)]:
        x = layer(x)
    try:
        for layer, skip in draw(st.lists(st.tuples(hidden, skips), min_size=1, max_size=6)):
            around, x = x, layer(x)
            if skip is not None and around.shape == x.shape:
                x = layers.Conv2D(WIDTH, 1)(skip()([around, x]))
    except ValueError:  # a picture of no size is left
        reject()
    pool = [] if draw(flags) else [layers.GlobalAveragePooling2D()]
    end = draw(st.sampled_from([end for name, (end, _) in ENDS.items() if "row" not in name]))
    for layer in [*pool, *end()]:
        x = layer(x) if not isinstance(layer, layers.Reshape) or pool else x
    return unlike_initial(keras.Model(inputs, x))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(architectures())
def test_the_twin_of_an_architecture_nobody_has_written_computes_the_same(model: keras.Model) -> None:
    note("\n".join(f"{type(layer).__name__} {layer.get_config()}" for layer in model.layers))
    assert_twin_is_the_model(model)
