"""The chapter's mini-Xception: separable convolutions with batch normalization and residuals.

Source: F. Chollet, Deep Learning with Python, 2nd edition, section 9.3.5.
"""

import keras
from keras import layers


def build(image_size: int) -> keras.Model:
    """Return the model: pixels 0 to 255, (batch, size, size, 3) -> the probability of a dog, (batch, 1)."""
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(inputs)
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
