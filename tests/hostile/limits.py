"""What is just allowed, on all cores at once: where memory and time are at their worst."""

import string
from collections.abc import Callable
from itertools import islice, product

import numpy as np
from PIL import Image

from pipeline.data.pictures import MAX_FILE_BYTES, MAX_PIXELS, MAX_SCANS
from tests.helpers.petsbuilder import encode
from tests.hostile.case import TEST, TRAINVAL, Case, case, listing
from tests.hostile.files import entry, jpeg_of_scans, jpeg_of_segments, run_length_bmp

SIDE = int(MAX_PIXELS**0.5)
SIZE = (SIDE, SIDE)


def everywhere(picture: bytes) -> Case:
    """The picture for all test pictures, with the largest mask that fits it."""
    mask = encode(Image.fromarray(np.ones(SIZE, np.uint16)))
    masks = {f"annotations/trimaps/{stem}.png": mask for stem in TEST}
    return case(masks | {f"images/{stem}.jpg": picture for stem in TEST})


def a_breed_per_picture() -> Case:
    breeds = islice(map("".join, product(string.ascii_lowercase, repeat=5)), (MAX_FILE_BYTES - 1000) // 14)
    lines = "".join(f"{breed}_1 1 1 1\n" for breed in breeds).encode()
    lists = {"trainval": lines + listing(TRAINVAL), "test": lines.replace(b"_1 ", b"_2 ") + listing(TEST)}
    return case({f"annotations/{name}.txt": data for name, data in lists.items()})


LIMITS: dict[str, Callable[[], Case]] = {
    "RGBA PNG": lambda: everywhere(encode(Image.new("RGBA", SIZE))),
    "run-length BMP": lambda: everywhere(run_length_bmp(SIDE)),
    "progressive JPEG": lambda: everywhere(jpeg_of_scans(MAX_SCANS - 20, "RGB", SIZE)),
    "CMYK JPEG full of empty segments": lambda: everywhere(
        jpeg_of_segments(MAX_FILE_BYTES, jpeg_of_scans(0, "CMYK", SIZE))
    ),
    "lists of a breed per picture": a_breed_per_picture,
    "empty members": lambda: case({}, images=[entry("images/nothing")] * 120_000),
}
