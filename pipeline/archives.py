"""The two archives of the Oxford-IIIT Pet dataset, read as streams: nothing is written to disk."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pandas as pd

from pipeline.stage import InputError

SPECIES_IDS = {"1": "cat", "2": "dog"}  # as numbered in the third column of the lists
MAX_MEMBER_BYTES = 64 * 2**20  # the largest of the published files is under 1 MB


@dataclass(frozen=True)
class Annotations:
    """The official lists and the trimaps.

    listed: one row per picture, sorted by stem: stem, species ("cat", "dog"), breed, split ("trainval", "test").
    trimaps: the PNG files by stem.
    """

    listed: pd.DataFrame
    trimaps: dict[str, bytes]


def read_annotations(path: Path) -> Annotations:
    """Read annotations.tar.gz. Raises InputError for a broken archive, a missing list or a line that makes no sense."""
    lists: dict[str, pd.DataFrame] = {}
    trimaps: dict[str, bytes] = {}
    for name, data in _members(path):
        if name in ("annotations/trainval.txt", "annotations/test.txt"):
            _add_once(lists, _stem(name), _parse_list(data, f"{path}: {name}", _stem(name)), path)
        elif name.startswith("annotations/trimaps/") and name.endswith(".png"):
            _add_once(trimaps, _stem(name), data, path)
    for split in ("trainval", "test"):
        if split not in lists:
            raise InputError(f"{path}: no annotations/{split}.txt inside")
    listed = pd.concat(lists.values()).sort_values("stem", ignore_index=True)
    if (twice := listed["stem"][listed["stem"].duplicated()]).size:
        raise InputError(f"{path}: {twice.iloc[0]} is listed twice; allowed: once")
    return Annotations(listed, trimaps)


def read_pictures(path: Path, stems: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (stem, file content) for images/STEM.jpg of each of the stems, in the order of images.tar.gz."""
    seen: dict[str, bytes] = {}
    for name, data in _members(path):
        stem = _stem(name)
        if name == f"images/{stem}.jpg" and stem in stems:
            _add_once(seen, stem, b"", path)
            yield stem, data


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files of an archive, gzipped or not, without the `._*` files that macOS adds."""
    try:
        with _open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isfile() or PurePosixPath(member.name).name.startswith("._"):
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise InputError(f"{path}: {member.name!r}: {member.size} bytes; allowed: {MAX_MEMBER_BYTES}")
                yield member.name, archive.extractfile(member).read()
            if archive.fileobj.read(512) != bytes(512):  # to tarfile, a file cut between two members is whole
                raise tarfile.ReadError("no end-of-archive mark")
            while stream.read(1 << 20):  # gzip compares its checksum at the very end
                pass
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro download` makes it") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: not a whole tar archive: {error}") from None


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_gzip else path.open("rb")


def _parse_list(data: bytes, where: str, split: str) -> pd.DataFrame:
    """Lines of `STEM CLASS-ID SPECIES BREED-ID`. The breed is the stem without its number, names hold underscores."""
    rows = []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"\s*((\w+)_\d+)\s+\d+\s+([12])\s+\d+\s*", line)
        if match is None:
            allowed = "NAME_NUMBER CLASS-ID SPECIES BREED-ID, SPECIES 1 (cat) or 2 (dog)"
            raise InputError(f"{where}: line {number}: {line[:100]!r}; allowed: {allowed}")
        stem, breed, species = match.groups()
        rows.append((stem, SPECIES_IDS[species], breed, split))
    return pd.DataFrame(rows, columns=["stem", "species", "breed", "split"])


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _add_once(found: dict[str, Any], stem: str, data: Any, path: Path) -> None:
    if stem in found:
        raise InputError(f"{path}: {stem} is in the archive twice; allowed: once")
    found[stem] = data
