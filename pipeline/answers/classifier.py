"""What the classifier says of pictures."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from pipeline.tasks import TASKS

TASK = TASKS["classifier"]
DOG_FROM = 0.5  # a picture is called a dog from this probability on


def dog_probabilities(classifier: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the probability of a dog: uint8 (pictures, size, size, 3) -> float32 (pictures,), 0 to 1."""
    return classifier.predict_on_batch(images)[:, 0]


def answer(classifier: keras.Model, images: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return for each picture "cat" or "dog", and the probability of that, 0.5 to 1.

    images: uint8 (pictures, size, size, 3). sizes: width and height of each picture, not used.
    """
    cat, dog = TASK.labels
    return [
        {"label": dog, "probability": found} if found >= DOG_FROM else {"label": cat, "probability": 1 - found}
        for found in dog_probabilities(classifier, images).tolist()
    ]


def in_words(found: dict[str, Any]) -> str:
    """Return an answer for people: the species and its probability."""
    return f"{found['label']} {found['probability']:.3f}"
