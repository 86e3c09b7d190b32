"""Augment training pictures and their masks: a random horizontal flip, rotation and zoom, as one affine map each.

A map does what Keras' RandomFlip, RandomRotation and RandomZoom do one after the other, except that a pixel is
interpolated once instead of twice, and that what lies outside is mirrored in the picture's own edges alone.
"""

import cv2
import numpy as np

# Source: F. Chollet, Deep Learning with Python, 2nd edition, section 9.3.5.
ROTATION = 0.1  # of a full turn, either way
ZOOM = 0.2  # of the picture's size, either way

BACKGROUND = 1  # the class, in a mask, of what lies outside its picture

cv2.setNumThreads(1)  # tf.data's threads work on a batch each


def random_maps(rng: np.random.Generator, pictures: int, size: int) -> np.ndarray:
    """Draw a map for each of some square pictures; float32 (pictures, 2, 3), see `maps`."""
    mirror = rng.choice([-1.0, 1.0], pictures)
    turn = rng.uniform(-ROTATION, ROTATION, pictures)
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, pictures)
    return maps(mirror, turn, zoom, size)


def maps(mirror: np.ndarray, turn: np.ndarray, zoom: np.ndarray, size: int) -> np.ndarray:
    """Return where each pixel (x, y) of an augmented picture comes from: matrices [A | b] of A (x, y) + b.

    mirror: -1 flips left and right, 1 does not. turn: of a full one, counterclockwise. zoom: above 1 shows more of the
    picture, smaller. Each (pictures,). Returns float32 (pictures, 2, 3).
    """
    angle = 2 * np.pi * turn
    rows = [[mirror * np.cos(angle), -mirror * np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    linear = np.moveaxis(zoom * np.array(rows), -1, 0)
    centre = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (centre - linear @ centre)[..., None]], axis=-1, dtype=np.float32)


def augment_images(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Map uint8 pictures (pictures, size, size, 3): bilinear; what lies outside is the picture, mirrored."""
    return _warp(images, maps, cv2.INTER_LINEAR, cv2.BORDER_REFLECT)


def augment_masks(masks: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Map uint8 masks of classes (pictures, size, size): nearest neighbour; what lies outside is background."""
    return _warp(masks, maps, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, BACKGROUND)


def _warp(arrays: np.ndarray, maps: np.ndarray, interpolation: int, *border: int) -> np.ndarray:
    warped = np.empty_like(arrays)
    for array, target, inverse in zip(arrays, warped, maps, strict=True):
        cv2.warpAffine(array, inverse, array.shape[:2], target, interpolation | cv2.WARP_INVERSE_MAP, *border)
    return warped
