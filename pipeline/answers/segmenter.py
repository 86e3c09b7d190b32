"""What the segmenter says of pictures."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from PIL import Image

from pipeline.tasks import TASKS

TASK = TASKS["segmenter"]


def predict_masks(segmenter: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the likeliest class of each pixel: uint8 (pictures, size, size, 3) -> uint8 (pictures, size, size)."""
    return np.argmax(segmenter.predict_on_batch(images), axis=-1).astype(np.uint8)


def answer(segmenter: keras.Model, images: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return for each picture its mask at its own size, uint8 classes (height, width), and the share of each class.

    images: uint8 (pictures, size, size, 3). sizes: width and height of each picture.
    """
    masks = [
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask, size in zip(predict_masks(segmenter, images), sizes, strict=True)
    ]
    return [
        {"mask": mask} | {label: float((mask == k).mean()) for k, label in enumerate(TASK.labels)} for mask in masks
    ]


def in_words(found: dict[str, Any]) -> str:
    """Return an answer for people: the share of each class."""
    return ", ".join(f"{label} {100 * found[label]:.1f} %" for label in TASK.labels)
