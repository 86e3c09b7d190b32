"""The chapter's segmenter: three halvings, three doublings.

Source: F. Chollet, Deep Learning with Python, 2nd edition, section 9.2.
"""

import keras
from keras import layers


def build(image_size: int) -> keras.Model:
    """Return the model: pixels 0 to 255, (batch, size, size, 3) -> shares of 3 classes, (batch, size, size, 3).

    image_size: a multiple of 8.
    """
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in (64, 128, 256):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu", padding="same")(x)
        x = layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
    for filters in (256, 128, 64):
        x = layers.Conv2DTranspose(filters, 3, activation="relu", padding="same")(x)
        x = layers.Conv2DTranspose(filters, 3, strides=2, activation="relu", padding="same")(x)
    return keras.Model(inputs, layers.Conv2D(3, 3, activation="softmax", padding="same")(x), name="encoder_decoder")
