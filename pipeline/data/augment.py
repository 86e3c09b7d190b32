"""The chapter's augmentation - horizontal flip, rotation, zoom - as one affine map for each picture.

The same as Keras' RandomFlip, RandomRotation and RandomZoom one after the other, but for two things: a pixel is
interpolated once instead of twice, and what lies outside is mirrored in the picture's own edges alone.
"""

import cv2
import numpy as np

from pipeline.models import ROTATION, ZOOM

cv2.setNumThreads(1)  # tf.data's threads work on a batch each


def random_maps(rng: np.random.Generator, pictures: int, size: int) -> np.ndarray:
    """Maps from the pixels of square pictures to those of augmented ones, float32 (pictures, 2, 3)."""
    mirror = rng.choice([-1.0, 1.0], pictures)
    turn = rng.uniform(-ROTATION, ROTATION, pictures)
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, pictures)
    return maps(mirror, turn, zoom, size)


def maps(mirror: np.ndarray, turn: np.ndarray, zoom: np.ndarray, size: int) -> np.ndarray:
    """Where each pixel (x, y) of an augmented picture comes from, as the matrices [A | b] of A (x, y) + b.

    mirror: -1 flips left and right, 1 does not. turn: of a full one, counterclockwise. zoom: above 1 shows more of the
    picture, smaller. Each (pictures,). Returns float32 (pictures, 2, 3).
    """
    angle = 2 * np.pi * turn
    rows = [[mirror * np.cos(angle), -mirror * np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    linear = np.moveaxis(zoom * np.array(rows), -1, 0)
    centre = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (centre - linear @ centre)[..., None]], axis=-1, dtype=np.float32)


def augment(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """uint8 (pictures, size, size, 3) by a map each: the same shape, bilinear, edges mirrored."""
    augmented = np.empty_like(images)
    for image, target, inverse in zip(images, augmented, maps, strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(image, inverse, image.shape[:2], target, flags, cv2.BORDER_REFLECT)
    return augmented
