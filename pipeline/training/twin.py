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

FUSED_EPSILON = 1.001e-5  # the fused op computes a smaller one as this; source: fused_batch_norm of TensorFlow
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
            and layer.epsilon >= FUSED_EPSILON
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
        """(batch, height, width, channels) -> (batch, height, width, filters)."""
        kernel = ops.transpose(ops.flip(self.kernel, (0, 1)), (0, 1, 3, 2))
        outputs = ops.conv(inputs, kernel, padding=self.padding)
        return self.activation(outputs + self.bias if self.use_bias else outputs)


class Logits(layers.Softmax):
    """A last softmax that is left to the loss."""

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return the inputs."""
        return inputs


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
        if from_logits and layer is model.layers[-1]:
            if isinstance(layer, layers.Softmax):
                kind = Logits
            else:
                config["activation"] = "linear"
        return kind.from_config(config)

    twin = keras.models.clone_model(model, clone_function=twin_of)
    outputs = layers.Activation("linear", dtype="float32", name="twin_outputs")(twin.outputs[0])
    twin = keras.Model(twin.inputs[0], outputs, name=model.name)
    twin.set_weights(model.get_weights())
    return twin, *_objective(outputs.shape[-1], from_logits)


def _last_activation(model: keras.Model) -> Callable | None:
    """Return the sigmoid or softmax that a model ends in, if it is the one that the loss takes logits for."""
    fitting = keras.activations.sigmoid if model.outputs[0].shape[-1] == 1 else keras.activations.softmax
    last = model.layers[-1]
    activation = getattr(last, "activation", None) if isinstance(last, ENDS_IN_ACTIVATION) else None
    if isinstance(last, layers.Softmax) and last.axis == -1:
        activation = keras.activations.softmax
    return fitting if activation is fitting and last.output is model.outputs[0] else None


def _objective(outputs: int, from_logits: bool) -> tuple[keras.losses.Loss, keras.metrics.Metric]:
    if outputs == 1:
        accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0 if from_logits else 0.5)
        return keras.losses.BinaryCrossentropy(from_logits=from_logits), accuracy
    accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits), accuracy


def check_twin(model: keras.Model, images: np.ndarray) -> None:
    """Compare a model with its float32 twin on uint8 pictures (batch, size, size, 3), without training.

    Raises InputError where they differ by more than rounding: it names the first layer that does, of those replaced.
    """
    twin = training_twin(model, "float32")[0]
    last = model.layers[-1].name
    names = [layer.name for layer in twin.layers if isinstance(layer, REPLACEMENTS) and layer.name != last]
    found, expected = (_outputs(one, names, images) for one in (twin, model))
    if (activation := _last_activation(model)) is not None:
        found["the output"] = np.asarray(activation(found["the output"]))
    for name, values in expected.items():
        difference = np.abs(found[name] - values)
        if (difference > TOLERANCE * np.ptp(values) + 1e-5 * np.abs(values).max()).any():
            line = f"{model.name}: {name} differs in training from the model's, by up to {difference.max():.2g}"
            raise InputError(f"{line}; this is a fault of pipeline/training/twin.py, please report it")


def _outputs(model: keras.Model, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of these layers, in their order, and of the model."""
    tensors = {f"the output of {name}": model.get_layer(name).output for name in names} | {
        "the output": model.outputs[0]
    }
    outputs = keras.Model(model.inputs[0], tensors)(images, training=False)
    return {name: np.asarray(outputs[name]) for name in tensors}
