"""Files that no program would write: tar entries with any header, pictures that declare any size, bombs."""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tests.helpers.petsbuilder import encode

FIELDS = {  # of a tar header: where they begin, how long they are
    "name": (0, 100),
    "mode": (100, 8),
    "owner": (108, 8),
    "size": (124, 12),
    "time": (136, 12),
    "type": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "device": (329, 16),
    "prefix": (345, 155),
    "sparse map": (386, 109),
}
PICTURES = [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "GIF"), ("L", "GIF")]
PICTURES += [(mode, "PNG") for mode in ("RGB", "RGBA", "P", "1", "LA", "I;16")]
PICTURES += [(mode, "BMP") for mode in ("RGB", "P", "1")]


def entry(name: str, content: bytes = b"", **fields) -> bytes:
    """A tar member, header and content; `fields` are those of tarfile.TarInfo. Surrogates in the name become bytes."""
    member = tarfile.TarInfo(name)
    for field, value in ({"size": len(content)} | fields).items():
        setattr(member, field, value)
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def patched(member: bytes, field: str, content: bytes) -> bytes:
    """The member with another content of a field of its header, as far as it fits, and a checksum that is right."""
    start, length = FIELDS[field]
    header = bytearray(member[:512])
    header[start : start + length] = content[:length].ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + member[512:]


def size_field(value: int) -> bytes:
    """As tar writes sizes: octal, otherwise to the base of 256."""
    return tarfile.itn(value, 12, tarfile.GNU_FORMAT)


def record(key: str, value: bytes) -> bytes:
    """A record of an extended header. It begins with its own length."""
    rest = b" %s=%s\n" % (key.encode(), value)
    length = next(n for n in range(len(rest), len(rest) + 9) if n == len(rest) + len(str(n)))
    return b"%d" % length + rest


def tar(members: Iterable[bytes]) -> bytes:
    return b"".join(members) + bytes(1024)


def gzipped_zeros(mebibytes: int) -> bytes:
    """About a thousandth of the size that it expands to: gzip members one after the other."""
    return gzip.compress(bytes(2**20), 1) * mebibytes


def tiny(mode: str, file_format: str, size: tuple[int, int] = (4, 3)) -> bytes:
    width, height = size
    shades = Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width))
    return encode(shades.convert(mode), file_format)


def declaring(file_format: str, width: int, height: int) -> bytes:
    """A picture of some hundred bytes, whatever it declares."""
    data = bytearray(tiny("L" if file_format == "JPEG" else "P", file_format))
    if file_format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif file_format == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
    elif file_format == "GIF":  # its frame; the screen stays as small as it is
        place = data.index(b",\0\0\0\0") + 5
        data[place : place + 4] = struct.pack("<HH", min(width, 65_535), min(height, 65_535))
    else:
        data[18:26] = struct.pack("<ii", width, height)
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


def run_length_bmp(side: int) -> bytes:
    """Each line a pixel and an end: of what is allowed, Pillow decodes this the slowest, in Python."""
    lines = b"\1\1\0\0" * side
    header = struct.pack("<2sIHHI", b"BM", 1078 + len(lines), 0, 0, 1078)
    header += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(lines), 0, 0, 256, 0)
    return header + bytes(1024) + lines
