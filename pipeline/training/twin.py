"""The training twin of a model: the same weights and the same function, computed faster.

The twin has a layer for each layer of its model, so that `get_weights` of one fits the other. A layer is replaced only
where the other computes the same; every other layer, Random* layers included, is Keras' own:
- Batch normalization becomes TensorFlow's fused op; Keras' own is a dozen passes over memory.
- A transposed convolution of stride 1 becomes a plain one with its kernel turned: oneDNN fuses its bias and its relu.
- A last sigmoid or softmax goes into the loss, which is then exact for probabilities near 0 and 1, too.
- Layers with weights, and those behind them, compute in the policy's numbers. Layers before them prepare pictures of
  0 to 255 and keep their own: 1/255 in bfloat16 is 0.4 % more.
It never leaves a training: a checkpoint holds the plain model (checkpoint.py).
"""

from collections.abc import Callable
from itertools import takewhile

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from pipeline.errors import InputError

ENDS_IN_ACTIVATION = (layers.Activation, layers.Conv2D, layers.Conv2DTranspose, layers.Dense, layers.SeparableConv2D)
TOLERANCE = 0.01  # of an output's spread; TensorFloat-32, in which GPUs compute float32, rounds to 0.001


class FusedBatchNormalization(layers.BatchNormalization):
    """Over the last axis, in one op; the moving averages are Keras', the mean of those of the replicas."""

    @staticmethod
    def replaces(layer: layers.Layer) -> bool:
        """Return whether a layer of a model is one that this computes; a frozen one uses its moving averages."""
        return (
            type(layer) is layers.BatchNormalization
            and len(layer.input.shape) == 4
            and layer.axis in (-1, 3)
            and layer.center
            and layer.scale
            and layer.trainable
            and not (layer.synchronized or layer.renorm)
        )

    def add_weight(self, *arguments, trainable: bool = True, **options) -> keras.Variable:
        # Else each replica keeps its own, and a state holds those of the first.
        aggregation = "none" if trainable else "mean"
        return super().add_weight(*arguments, trainable=trainable, aggregation=aggregation, **options)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalize (batch, height, width, channels)."""
        if mask is not None:
            return super().call(inputs, training=training, mask=mask)
        if not training:
            moving = {"mean": self.moving_mean, "variance": self.moving_variance}
            return self._normalized(inputs, **moving, is_training=False)[0]
        outputs, mean, unbiased = self._normalized(inputs, is_training=True)
        count = ops.cast(ops.prod(ops.shape(inputs)[:3]), "float32")
        variance = unbiased * (count - 1) / count  # Keras' moving variance takes the biased one
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs

    def _normalized(self, inputs: tf.Tensor, **statistics) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        scale, offset = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        return tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=self.epsilon, **statistics)


class TurnedConvolution(layers.Conv2DTranspose):
    """Of stride 1: each output pixel is a weighted sum of its neighbours, as in a convolution, in the other order."""

    @staticmethod
    def replaces(layer: layers.Layer) -> bool:
        """Return whether a layer of a model is one that this computes."""
        return (
            type(layer) is layers.Conv2DTranspose
            and layer.strides == (1, 1)
            and layer.padding == "same"
            and all(size % 2 for size in layer.kernel_size)
            and layer.dilation_rate == (1, 1)
            and layer.output_padding is None
            and layer.data_format == "channels_last"
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve (batch, height, width, channels) -> (batch, height, width, filters)."""
        kernel = ops.transpose(ops.flip(self.kernel, (0, 1)), (0, 1, 3, 2))
        outputs = ops.conv(inputs, kernel, padding=self.padding)
        return self.activation(outputs + self.bias if self.use_bias else outputs)


REPLACEMENTS = (FusedBatchNormalization, TurnedConvolution)


def training_twin(model: keras.Model, policy: str) -> tuple[keras.Model, keras.losses.Loss, keras.metrics.Metric]:
    """Return a model's twin with a copy of its weights, and the loss and the accuracy of the twin's float32 outputs.

    model: Functional or Sequential, with one input and one output, which are probabilities: of class 1 for one output
    in the last axis, of each class for several. policy: Keras' name, "mixed_bfloat16", "mixed_float16" or "float32".
    """
    preparing = list(takewhile(lambda layer: not layer.weights, model.layers))
    from_logits = _last_activation(model) is not None

    def twin_of(layer: keras.Operation) -> keras.Operation:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer)
        if not isinstance(layer, layers.Layer):  # an op between tensors, such as `x + y`, has nothing to copy
            return layer
        kind, config = next((kind for kind in REPLACEMENTS if kind.replaces(layer)), type(layer)), layer.get_config()
        if layer not in preparing and layer.dtype_policy.name == "float32":
            config["dtype"] = policy
        if from_logits and layer is model.layers[-1] and "activation" in config:
            config["activation"] = "linear"
        return kind.from_config(config)

    twin = keras.models.clone_model(model, clone_function=twin_of)
    last = twin.layers[-1]
    logits = last.input if from_logits and isinstance(last, layers.Softmax) else twin.outputs[0]
    outputs = layers.Activation("linear", dtype="float32", name="twin_outputs")(logits)
    twin = keras.Model(twin.inputs[0], outputs, name=model.name)
    twin.set_weights(model.get_weights())
    if outputs.shape[-1] == 1:
        accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0 if from_logits else 0.5)
        return twin, keras.losses.BinaryCrossentropy(from_logits=from_logits), accuracy
    accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
    return twin, keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits), accuracy


def _last_activation(model: keras.Model) -> Callable | None:
    """Return the sigmoid or softmax that a model ends in, if it is the one that the loss takes logits for."""
    fitting = keras.activations.sigmoid if model.output_shape[-1] == 1 else keras.activations.softmax
    last, found = model.layers[-1], None
    if isinstance(last, ENDS_IN_ACTIVATION):
        found = last.activation
    elif isinstance(last, layers.Softmax) and last.axis == -1:
        found = keras.activations.softmax
    return fitting if found is fitting and last.output is model.outputs[0] else None


def check_twin(model: keras.Model, images: np.ndarray) -> None:
    """Compare a model with its float32 twin on uint8 pictures (batch, size, size, 3), without training.

    Raises InputError if their outputs differ by more than rounding.
    """
    activation = _last_activation(model) or keras.activations.linear
    found = np.asarray(activation(training_twin(model, "float32")[0](images, training=False)))
    expected = np.asarray(model(images, training=False))
    difference = np.abs(found - expected)
    if (difference > TOLERANCE * np.ptp(expected) + 1e-5 * np.abs(expected).max()).any():
        line = f"{model.name}: the output differs in training from the model's, by up to {difference.max():.2g}"
        raise InputError(f"{line}; this is a fault of pipeline/training/twin.py, please report it")
