"""One picture and its trimap: from the bytes in the archive to arrays of the sizes that the models take."""

import hashlib
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.params import Preprocess
from pipeline.stage import InputError

MAX_PIXELS = 50_000_000  # of one picture, 150 MB decoded: a file of some bytes can declare far more
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns, and speaks of an attack
FORMATS = ("JPEG", "PNG", "GIF", "BMP")  # what the names say is not trusted; Pillow's other decoders are not needed


@dataclass(frozen=True)
class Sample:
    """One readable picture: images uint8 (size, size, 3), mask uint8 (size, size) of classes 0, 1, 2.

    digest: SHA-256 of the file, by which copies are found.
    """

    stem: str
    digest: str
    classifier_image: np.ndarray
    segmenter_image: np.ndarray | None
    mask: np.ndarray | None


@dataclass(frozen=True)
class Reject:
    stem: str
    reason: str


def decode(data: bytes) -> Image.Image:
    """A picture by its content, whatever its name says, as RGB without alpha. Raises ValueError if unreadable."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"declares {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}")
            return picture.convert("RGB")
    except Exception as error:  # a broken file raises OSError, SyntaxError, struct.error and others, by format
        raise ValueError(_one_line(error)) from None


def decode_mask(data: bytes, stem: str, size: tuple[int, int]) -> Image.Image:
    """A trimap with its values 1, 2, 3 moved to the classes 0 (foreground), 1 (background), 2 (contour).

    Raises InputError where the trimap does not fit its picture or holds another value, ValueError if it is unreadable.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            found, mode = picture.size, picture.mode
            values = np.asarray(picture) if found == size else None
    except Exception as error:
        raise ValueError(f"trimap: {_one_line(error)}") from None
    if values is None:
        raise InputError(f"trimaps/{stem}.png: {found[0]} x {found[1]} pixels, its picture {size[0]} x {size[1]}")
    if values.ndim != 2:
        raise InputError(f"trimaps/{stem}.png: mode {mode}; allowed: one channel")
    if not np.isin(values, (1, 2, 3)).all():
        raise InputError(f"trimaps/{stem}.png: values {np.unique(values)[:8].tolist()}; allowed: 1, 2, 3")
    return Image.fromarray((values - 1).astype(np.uint8))


def resized(picture: Image.Image, size: int) -> np.ndarray:
    """RGB of any size -> uint8 (size, size, 3), antialiased; the aspect ratio is not kept, as in the chapter."""
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def prepare(stem: str, picture: bytes, trimap: bytes | None, params: Preprocess) -> Sample | Reject:
    """Decode and resize: pictures antialiased, masks nearest."""
    try:
        image = decode(picture)
        mask = None if trimap is None else decode_mask(trimap, stem, image.size)
    except ValueError as error:
        return Reject(stem, str(error))

    size = params.segmenter_size
    return Sample(
        stem=stem,
        digest=hashlib.sha256(picture).hexdigest(),
        classifier_image=resized(image, params.classifier_size),
        segmenter_image=None if mask is None else resized(image, size),
        mask=None if mask is None else np.asarray(mask.resize((size, size), Image.Resampling.NEAREST)),
    )


def _one_line(error: Exception) -> str:
    """Pillow's message without the memory address in it, so that rejects.csv is the same every time."""
    return re.sub(r" <_io.BytesIO object at 0x[0-9a-f]+>", "", " ".join(str(error).split()))
