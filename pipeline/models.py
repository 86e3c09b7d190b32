"""The architectures, by name, as the chapter on computer vision gives them.

Source: F. Chollet, Deep Learning with Python, 2nd edition, chapter 9. Every model takes pictures of 0..255 and rescales
them itself. The segmenter ends in a softmax over (foreground, background, contour), the classifiers in a sigmoid, the
probability of a dog. Only Keras' own layers: a saved model loads without this project.
"""

from collections.abc import Callable

import keras
from keras import KerasTensor, layers

ROTATION = 0.1  # of a full turn, either way
ZOOM = 0.2  # of the picture's size, either way


def encoder_decoder(image_size: int) -> keras.Model:
    """Three halvings and three doublings; (batch, size, size, 3) -> (batch, size, size, 3 classes)."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in (64, 128, 256):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu", padding="same")(x)
        x = layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
    for filters in (256, 128, 64):
        x = layers.Conv2DTranspose(filters, 3, activation="relu", padding="same")(x)
        x = layers.Conv2DTranspose(filters, 3, strides=2, activation="relu", padding="same")(x)
    return keras.Model(inputs, layers.Conv2D(3, 3, activation="softmax", padding="same")(x), name="encoder_decoder")


def _augment(x: KerasTensor) -> KerasTensor:
    """Random in training, off in `predict` and `evaluate`. Keras leaves it on in a plain `model(x)`."""
    x = layers.RandomFlip("horizontal")(x)
    x = layers.RandomRotation(ROTATION)(x)
    return layers.RandomZoom(ZOOM)(x)


def mini_xception(image_size: int) -> keras.Model:
    """Separable convolutions with batch normalization and residuals; (batch, size, size, 3) -> (batch, 1)."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(_augment(inputs))
    x = layers.Conv2D(32, 5, use_bias=False)(x)
    for filters in (32, 64, 128, 256, 512):
        residual = layers.Conv2D(filters, 1, strides=2, padding="same", use_bias=False)(x)
        for _ in range(2):
            x = layers.BatchNormalization()(x)
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.add([x, residual])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name="mini_xception")


def naive(image_size: int) -> keras.Model:
    """The plain convnet that mini-Xception is compared with; (batch, size, size, 3) -> (batch, 1)."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(_augment(inputs))
    for filters in (32, 64, 128, 256):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(256, 3, activation="relu")(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name="naive")


def residual(image_size: int) -> keras.Model:
    """Three residual blocks, meant for 32 x 32; (batch, size, size, 3) -> (batch, 1)."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for filters, pooling in ((32, True), (64, True), (128, False)):
        shortcut = layers.Conv2D(filters, 1, strides=2 if pooling else 1)(x)
        x = layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
        if pooling:
            x = layers.MaxPooling2D(2, padding="same")(x)
        x = layers.add([x, shortcut])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name="residual")


ARCHITECTURES: dict[str, Callable[[int], keras.Model]] = {
    "encoder_decoder": encoder_decoder,
    "mini_xception": mini_xception,
    "naive": naive,
    "residual": residual,
}
