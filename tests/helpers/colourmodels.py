"""Checkpoints that read their answer off the red channel, so that what they say of a drawn picture is known."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

RED = (0, 100, 200)  # of a foreground, a background and a contour pixel: far enough apart for JPEG


def write_segmenter(path: Path, size: int = 2) -> Path:
    """The class of a pixel is the one whose red is nearest: red**2 - (red - RED[k])**2 is largest there."""
    model = keras.Sequential([keras.Input((size, size, 3)), layers.Conv2D(3, 1)])
    red = np.array(RED)
    model.set_weights([np.array([[[2 * red, 0 * red, 0 * red]]]), -(red**2)])
    model.save(path)
    return path


def write_classifier(path: Path, size: int = 4) -> Path:
    """The probability of a dog is the mean of red / 256."""
    mean = [layers.GlobalAveragePooling2D(), layers.Dense(1, use_bias=False)]
    model = keras.Sequential([keras.Input((size, size, 3)), *mean])
    model.set_weights([np.array([[1 / 256], [0], [0]])])
    model.save(path)
    return path
