"""A plain convnet, which the chapter compares mini-Xception with.

Source: F. Chollet, Deep Learning with Python, 2nd edition, sections 9.3.5 and 8.2.
"""

import keras
from keras import layers


def build(image_size: int) -> keras.Model:
    """Return the model: pixels 0 to 255, (batch, size, size, 3) -> the probability of a dog, (batch, 1).

    Raises ValueError for an image_size below 78: the last convolution has nothing left.
    """
    inputs = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in (32, 64, 128, 256):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(256, 3, activation="relu")(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name="naive")
