"""Pictures that no program would write: they declare any size, or are as large as the limits allow."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.helpers.petsbuilder import encode


def tiny(mode: str, file_format: str, size: tuple[int, int] = (4, 3)) -> bytes:
    width, height = size
    shades = Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width))
    return encode(shades.convert(mode), file_format)


def declaring(file_format: str, width: int, height: int) -> bytes:
    """A PNG or GIF of some hundred bytes, whatever it declares."""
    data = bytearray(tiny("P", file_format))
    if file_format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:  # a GIF's frame; the screen stays as small as it is
        place = data.index(b",\0\0\0\0") + 5
        data[place : place + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def jpeg_of_scans(scans: int, mode: str, size: tuple[int, int]) -> bytes:
    """A progressive JPEG of one colour whose last scan is there as many times more."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, "JPEG", progressive=True, subsampling=0)
    data = file.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def jpeg_of_segments(size: int, jpeg: bytes) -> bytes:
    """The JPEG with empty application segments, of which Pillow keeps a list, up to a size in bytes."""
    return jpeg[:2] + b"\xff\xe5\0\2" * ((size - len(jpeg)) // 4) + jpeg[2:]
