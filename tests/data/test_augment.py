"""Augmentation by one affine map, against Keras' own layers, which the chapter uses."""

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.data.augment import BACKGROUND, ROTATION, ZOOM, augment_images, augment_masks, maps, random_maps
from pipeline.tasks import TASKS

SIZE = 61


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Smooth ones, of which interpolation can tell little: uint8 (2, SIZE, SIZE, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (2, 6, 6, 3))
    return np.asarray(keras.ops.image.resize(coarse, (SIZE, SIZE), "bicubic")).clip(0, 255).astype(np.uint8)


def mapped(pictures: np.ndarray, mirror: float | list[float] = 1, turn: float = 0, zoom: float = 1) -> np.ndarray:
    return augment_images(pictures, maps(*(np.full(2, value, float) for value in (mirror, turn, zoom)), size=SIZE))


def by_keras(layer: layers.Layer, pictures: np.ndarray) -> np.ndarray:
    return np.asarray(layer(pictures.astype(np.float32), training=True))


def test_each_picture_has_its_own_flip_a_quarter_turn_is_counterclockwise_and_the_original_stays(pictures):
    before = pictures.copy()
    np.testing.assert_array_equal(mapped(pictures, mirror=[1, -1]), [pictures[0], pictures[1][:, ::-1]])
    np.testing.assert_array_equal(mapped(pictures, turn=0.25), np.rot90(pictures, axes=(1, 2)))
    np.testing.assert_array_equal(pictures, before)


@pytest.mark.parametrize(("turn", "zoom"), [(-ROTATION, 1), (0.05, 1), (0, 1 - ZOOM), (0, 1 + ZOOM)])
def test_a_rotation_or_zoom_is_that_of_keras_up_to_its_mirrored_edges(pictures, turn, zoom):
    layer = layers.RandomRotation((turn, turn)) if turn else layers.RandomZoom((zoom - 1, zoom - 1))
    difference = mapped(pictures, 1, turn, zoom) - by_keras(layer, pictures)
    assert np.abs(difference).max() < 2  # of 255: rounding, and cv2's 1/32 of a pixel


def test_all_at_once_is_one_after_the_other_inside_the_picture(pictures):
    rotated = by_keras(layers.RandomRotation((0.07, 0.07)), pictures[:, :, ::-1])
    zoomed = by_keras(layers.RandomZoom((-0.15, -0.15)), rotated)
    inside = np.s_[:, 15:-15, 15:-15]  # which comes from the picture's own pixels
    assert np.abs(mapped(pictures, -1, 0.07, 0.85) - zoomed)[inside].max() < 4


def test_random_maps_fill_the_chapters_ranges_evenly_and_flip_every_other_picture():
    found = random_maps(np.random.default_rng(0), 4000, SIZE)
    assert (found.shape, found.dtype) == ((4000, 2, 3), np.float32)
    mirror = np.sign(np.linalg.det(found[:, :, :2]))
    zoom = np.sqrt(np.abs(np.linalg.det(found[:, :, :2])))
    turn = np.arctan2(found[:, 1, 0], found[:, 1, 1]) / (2 * np.pi)
    assert abs(mirror.mean()) < 0.05
    for values, middle, most in ((zoom, 1, ZOOM), (turn, 0, ROTATION)):
        quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(quartiles, middle + most * np.array([-1, -0.5, 0, 0.5, 1]), atol=0.06 * most)


def test_a_mask_moves_with_its_picture_holds_no_new_class_and_what_lies_outside_is_background():
    masks = np.array([[[0, 2, 2], [2, 0, 2], [2, 2, 0]]], np.uint8)
    one = np.ones(1)
    np.testing.assert_array_equal(augment_masks(masks, maps(-one, 0 * one, one, 3)), masks[:, :, ::-1])
    np.testing.assert_array_equal(augment_masks(masks, maps(one, one / 4, one, 3))[0], np.rot90(masks[0]))
    assert TASKS["segmenter"].labels.index("background") == BACKGROUND
    smaller = augment_masks(np.zeros((1, 4, 4), np.uint8), maps(one, 0 * one, 2 * one, 4))
    np.testing.assert_array_equal(smaller[0], [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]])
    masks = np.random.default_rng(0).choice([0, 2], (20, SIZE, SIZE)).astype(np.uint8)
    found = augment_masks(masks, random_maps(np.random.default_rng(1), 20, SIZE))
    assert (found == BACKGROUND).mean() < 0.3, "outside alone, and no 1 between 0 and 2"
