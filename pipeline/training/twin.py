"""The training twin of a model: the same weights and the same function, computed faster.

A model's twin has a layer for each of its layers, with the same weights in the same order, so that `get_weights` of one
fits the other. It differs in this:
- Batch normalization is TensorFlow's fused op; Keras' own is a dozen passes over memory.
- A transposed convolution of stride 1 is a plain one with its kernel turned: oneDNN fuses its bias and its relu.
- It ends in logits, which are made float32: the loss takes no softmax, and is as exact as they are.
- Augmentation is left out: dataset.py augments, once per picture instead of in three passes.
It never leaves a training: a checkpoint holds the plain model (checkpoint.py).
"""

import keras
import tensorflow as tf
from keras import layers, ops

AUGMENTATION = (layers.RandomFlip, layers.RandomRotation, layers.RandomZoom)


class FusedBatchNormalization(layers.BatchNormalization):
    """Over the last axis, in one op; the moving averages are Keras', the mean of those of the replicas."""

    def add_weight(self, *arguments, trainable: bool = True, **options) -> keras.Variable:
        # Else each replica keeps its own, and a state holds those of the first.
        aggregation = "none" if trainable else "mean"
        return super().add_weight(*arguments, trainable=trainable, aggregation=aggregation, **options)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """(batch, height, width, channels) -> the same."""
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

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, height, width, channels) -> (batch, height, width, filters)."""
        kernel = ops.transpose(ops.flip(self.kernel, (0, 1)), (0, 1, 3, 2))
        return self.activation(ops.conv(inputs, kernel, padding=self.padding) + self.bias)


def is_augmented(model: keras.Model) -> bool:
    return any(isinstance(layer, AUGMENTATION) for layer in model.layers)


def training_twin(model: keras.Model, policy: str) -> keras.Model:
    """The twin of a chapter's model with a copy of its weights, under a Keras policy ("mixed_bfloat16", "float32")."""

    def twin_of(layer: layers.Layer) -> layers.Layer:
        if isinstance(layer, AUGMENTATION):
            return layers.Identity(name=layer.name)
        if isinstance(layer, layers.Rescaling):  # 1/255 in bfloat16 is 0.4 % more
            return layers.Rescaling.from_config(layer.get_config())
        config = layer.get_config() | {"dtype": policy}
        if layer is model.layers[-1]:
            config |= {"activation": "linear"}
        if isinstance(layer, layers.BatchNormalization):
            return FusedBatchNormalization.from_config(config)
        if isinstance(layer, layers.Conv2DTranspose) and layer.strides == (1, 1):
            return TurnedConvolution.from_config(config)
        return type(layer).from_config(config)

    twin = keras.models.clone_model(model, clone_function=twin_of)
    logits = layers.Activation("linear", dtype="float32", name="logits")(twin.output)
    twin = keras.Model(twin.input, logits, name=model.name)
    twin.set_weights(model.get_weights())
    return twin


def objective(task: str) -> tuple[keras.losses.Loss, keras.metrics.Metric]:
    """The chapter's loss and accuracy, of a twin's logits."""
    if task == "segmenter":
        accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True), accuracy
    return keras.losses.BinaryCrossentropy(from_logits=True), keras.metrics.BinaryAccuracy("accuracy", threshold=0)
