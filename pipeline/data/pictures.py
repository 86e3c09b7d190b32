"""One picture and its trimap: from the bytes of a file to arrays of the sizes that the models take.

The files may be strangers'. The limits below keep each one under 1 GiB of memory and some seconds.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from pipeline.errors import InputError

MAX_FILE_BYTES = 16 * 2**20  # the published files have less than 2 MB, a phone's 12 megapixels about 5
MAX_PIXELS = 25_000_000  # of one picture: a file of some bytes can declare far more
MAX_SIDE = 65_535  # of a JPEG or GIF by their formats; memory for each row or column of a PNG or BMP adds up
MAX_SCANS = 100  # of a JPEG of MAX_PIXELS, more of a smaller one: each goes over all pixels, common are 10
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns, and speaks of an attack
FORMATS = ("JPEG", "PNG", "GIF", "BMP")  # what the names say is not trusted; Pillow's other decoders are not needed
JPEGS = ("JPEG", "MPO")  # MPO is what Pillow calls a JPEG with another one behind it
START_OF_SCAN = re.compile(b"\xff\xda")  # found in a third of the time that bytes.count takes
cv2.setNumThreads(1)  # there is a picture for each core


class Unreadable(ValueError):
    """A file that is no picture, or one beyond the limits."""


@dataclass(frozen=True)
class Sample:
    """One readable picture.

    digest: the first 16 bytes of the SHA-256 of the file, by which copies are found.
    image: uint8 (size, size, 3).
    mask: if it has a trimap, uint8 (size, size) of classes 0, 1, 2.
    """

    digest: bytes
    image: np.ndarray
    mask: np.ndarray | None


def decode(data: bytes, at_least: int = MAX_SIDE) -> np.ndarray:
    """Decode a picture by its content, whatever its name says: RGB without alpha, uint8 (height, width, 3).

    at_least: pixels. A JPEG is decoded at the fewest eighths of its size that leave as many on both sides, which takes
    less time. Raises Unreadable.
    """
    with _opened(data) as picture:
        if picture.format in JPEGS:
            with suppress(ValueError):  # of any damage; with some, Pillow still finds a picture
                return simplejpeg.decode_jpeg(data, min_height=at_least, min_width=at_least)
        return np.asarray(picture.convert("RGB"))


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn a file that is no readable picture into an InputError with this name."""
    try:
        yield
    except Unreadable as error:
        raise InputError(f"{name}: not a readable picture: {error}; allowed: {', '.join(FORMATS)}") from None


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height of a picture, in pixels, by its header. Raises Unreadable."""
    with _opened(data) as picture:
        return picture.size


@contextmanager
def _opened(data: bytes, prefix: str = "") -> Iterator[Image.Image]:
    """Yield a picture of which only the header has been read.

    Raises Unreadable for whatever is wrong with it, in its header or where it is used; a prefix begins the message.
    """
    try:
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"more than {MAX_FILE_BYTES:,} bytes")
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture, scans=len(START_OF_SCAN.findall(data)) if picture.format in JPEGS else 1)
            yield picture
    except Exception as error:  # a broken file raises OSError, SyntaxError, struct.error and others, by format
        # The same reason every time, as it is an output: without line breaks and memory addresses.
        reason = re.sub(r" <_io.BytesIO object at 0x[0-9a-f]+>", "", " ".join(str(error).split()))
        raise Unreadable(prefix + reason) from None


def _check_size(picture: Image.Image, scans: int) -> None:
    """Raise ValueError for what the header declares, before any pixel is decoded."""
    pixels = picture.width * picture.height
    declares = f"declares {picture.width} x {picture.height} pixels"
    if pixels > MAX_PIXELS or max(picture.size) > MAX_SIDE:
        raise ValueError(f"{declares}; allowed: {MAX_PIXELS:,}, and {MAX_SIDE:,} on a side")
    if pixels * scans > MAX_PIXELS * MAX_SCANS:
        raise ValueError(f"{declares} in {scans} scans; allowed: {MAX_PIXELS * MAX_SCANS // pixels} scans of that size")


def square(data: bytes, size: int) -> np.ndarray:
    """Decode and resize a picture to uint8 (size, size, 3), antialiased. Raises Unreadable.

    The aspect ratio is not kept, as in the chapter.
    """
    pixels = decode(data, size)
    height, width = pixels.shape[:2]
    # OpenCV averages areas only where it enlarges neither side.
    smaller = cv2.resize(pixels, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    return cv2.resize(smaller, (size, size), interpolation=cv2.INTER_LINEAR)


def mask_of(trimap: bytes, picture_size: tuple[int, int], size: int) -> np.ndarray:
    """Decode and resize a trimap, nearest neighbour: uint8 (size, size) of classes.

    Its values 1, 2, 3 become the classes 0 (foreground), 1 (background), 2 (contour). picture_size: width and height.
    Raises Unreadable, also for a trimap that does not fit its picture or holds another value.
    """
    with _opened(trimap, prefix="trimap: ") as picture:
        if picture.size != picture_size:
            found, wanted = (f"{width} x {height} pixels" for width, height in (picture.size, picture_size))
            raise ValueError(f"{found}, its picture {wanted}")
        values = np.asarray(picture)
        if values.ndim != 2:
            raise ValueError(f"mode {picture.mode}; allowed: one channel")
        if values.min() < 1 or values.max() > 3:
            raise ValueError(f"values {np.unique(values)[:8].tolist()}; allowed: 1, 2, 3")
    classes = Image.fromarray(values.astype(np.uint8) - 1)
    return np.asarray(classes.resize((size, size), Image.Resampling.NEAREST))


def prepare(picture: bytes, trimap: bytes | None, size: int) -> Sample:
    """Decode and resize a picture and its trimap. Raises Unreadable for either."""
    mask = None if trimap is None else mask_of(trimap, size_of(picture), size)
    return Sample(hashlib.sha256(picture).digest()[:16], square(picture, size), mask)
