"""The chapter's small residual convnet, meant for 32 x 32 pixels.

Source: F. Chollet, Deep Learning with Python, 2nd edition, section 9.3.2.
"""

import keras
from keras import layers


def build(image_size: int) -> keras.Model:
    """Return the model: pixels 0 to 255, (batch, size, size, 3) -> the probability of a dog, (batch, 1)."""
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
