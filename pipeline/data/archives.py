"""The two archives of the Oxford-IIIT Pet dataset, read as streams: nothing is unpacked.

Whatever is in them, memory has a bound and time is in proportion to the size of the file: the limits below see to both.
The members' names are compared with those of the lists, never used as paths.
"""

import io
import re
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from isal import igzip, isal_zlib  # gzip and zlib by another hand: preprocess is 6 % faster

from pipeline.data.pictures import MAX_FILE_BYTES
from pipeline.errors import InputError

LISTS = {"annotations/trainval.txt": "trainval", "annotations/test.txt": "test"}
COLUMNS = {"stem": "str", "species": pd.CategoricalDtype(["cat", "dog"])}  # categories take a tenth of strings' memory
SPECIES_IDS = {"1": "cat", "2": "dog"}  # as numbered in the third column of the lists
MAX_EXPANSION = 20  # times the size of the file, of which the published ones need 5; the first 64 MiB are free
STEM = r"\w{1,60}_\d{1,9}"  # a picture's breed and number: in ASCII, and short enough for a plain tar header
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
LINKS_DEVICES_AND_FOLDERS = (b"1", b"2", b"3", b"4", b"5", b"6")
ZEROS = bytes(tarfile.BLOCKSIZE)


class Stems:
    """Names to look up, side by side as bytes: a set and its strings would take five times the memory."""

    def __init__(self, stems: Collection[str]):
        longest = max((len(stem.encode()) for stem in stems), default=1)
        self._names = np.fromiter((stem.encode() for stem in stems), f"S{longest}")
        self._names.sort()

    def __len__(self) -> int:
        return len(self._names)

    def row(self, stem: str) -> int | None:
        """The place of a stem among all, sorted; None for one that is not there."""
        name = stem.encode(errors="surrogateescape")
        row = int(np.searchsorted(self._names, name)) if len(name) <= self._names.itemsize else len(self)
        return row if row < len(self) and self._names[row] == name else None


class Trimaps:
    """PNG files, in one file in a folder, which has no name and goes with the process.

    Memory holds where each one lies: all of them may be more than fits.
    """

    def __init__(self, stems: Stems, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it goes with this object
        self._stems, self._places = stems, np.full((len(stems), 2), -1)  # offset and size

    @property
    def found(self) -> np.ndarray:
        """bool (stems,), sorted by stem."""
        return self._places[:, 0] >= 0

    def add(self, stem: str, data: bytes) -> None:
        self._places[self._stems.row(stem)] = self._file.tell(), self._file.write(data)

    def get(self, stem: str) -> bytes | None:
        row = self._stems.row(stem)
        if row is None or self._places[row, 0] < 0:
            return None
        offset, size = self._places[row].tolist()
        self._file.seek(offset)
        return self._file.read(size)


def read_lists(path: Path) -> pd.DataFrame:
    """The official lists of annotations.tar.gz: a row per picture, sorted by stem.

    Columns: stem, str; species ("cat", "dog"), breed, split ("trainval", "test"), categories. The breed is the stem
    without its number: names hold underscores.
    Raises InputError for a broken archive, a missing list or a line that makes no sense.
    """
    lists: dict[str, pd.DataFrame] = {}
    for name, data in _members(path):
        if split := LISTS.get(name):
            if split in lists:
                raise InputError(f"{path}: {split} is in the archive twice; allowed: once")
            lists[split] = _parse_list(data, f"{path}: {name}", split)
    for name, split in LISTS.items():
        if split not in lists:
            raise InputError(f"{path}: no {name} inside")
    listed = pd.concat(lists.values()).sort_values("stem", ignore_index=True)
    if (twice := listed["stem"][listed["stem"] == listed["stem"].shift()]).size:
        raise InputError(f"{path}: {twice.iloc[0]} is listed twice; allowed: once")
    listed.insert(2, "breed", listed["stem"].str.replace(r"_\d+$", "", regex=True).astype("category"))
    return listed


def read_trimaps(path: Path, stems: Stems, folder: Path) -> Trimaps:
    """The content of annotations/trimaps/STEM.png for each of the stems that annotations.tar.gz has, in the folder."""
    trimaps = Trimaps(stems, folder)
    for stem, data in _files_of(path, "annotations/trimaps/", ".png", stems):
        trimaps.add(stem, data)
    return trimaps


def read_pictures(path: Path, stems: Stems) -> Iterator[tuple[str, bytes]]:
    """Yield (stem, file content) for images/STEM.jpg of each of the stems, in the order of images.tar.gz."""
    return _files_of(path, "images/", ".jpg", stems)


def _files_of(path: Path, folder: str, suffix: str, stems: Stems) -> Iterator[tuple[str, bytes]]:
    """(stem, content) of the members that are named so. Raises InputError for one that is in the archive twice."""
    seen = np.zeros(len(stems), bool)
    for name, data in _members(path):
        stem = name.removeprefix(folder).removesuffix(suffix)
        row = stems.row(stem) if name == f"{folder}{stem}{suffix}" else None
        if row is not None:
            if seen[row]:
                raise InputError(f"{path}: {stem} is in the archive twice; allowed: once")
            seen[row] = True
            yield stem, data


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files of an archive, gzipped or not, without the `._*` files that macOS adds."""
    try:
        with _open(path) as file:
            yield from _regular_files(_Bounded(file, path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro download` makes it") from None
    except (tarfile.TarError, igzip.BadGzipFile, isal_zlib.error, EOFError, OverflowError) as error:
        raise InputError(f"{path}: not a whole tar archive: {error}") from None


class _Bounded:
    """The content of an archive, as far as it is in proportion to the file. Raises InputError beyond."""

    def __init__(self, file: BinaryIO, path: Path):
        self.file, self.path = file, path
        self.left = MAX_EXPANSION * path.stat().st_size + 64 * 2**20

    def read(self, size: int) -> bytes:
        """As many bytes, fewer at the end."""
        self.left -= size
        if self.left < 0:
            raise InputError(f"{self.path}: expands to more than {MAX_EXPANSION} times its size; pack it without gzip")
        return self.file.read(size)


def _regular_files(stream: _Bounded) -> Iterator[tuple[str, bytes]]:
    """Names and contents, a header at a time.

    tarfile.open would keep all headers, and follow extended ones and sparse maps wherever they lead. They are passed
    over here: the names that count have no need of them.
    """
    while (block := stream.read(tarfile.BLOCKSIZE)) != ZEROS:
        if not block:
            raise tarfile.ReadError("no end-of-archive mark")
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if not 0 <= member.size <= MAX_FILE_BYTES:
            found = f"{stream.path}: {member.name!r}: {member.size} bytes"
            raise InputError(f"{found}; allowed: 0 to {MAX_FILE_BYTES}")
        if member.type in LINKS_DEVICES_AND_FOLDERS:  # no content follows, whatever size they declare
            continue
        content = stream.read(member.size + -member.size % tarfile.BLOCKSIZE)
        if len(content) < member.size:
            raise tarfile.ReadError("unexpected end of data")
        if member.type in REGULAR and not member.name.rpartition("/")[2].startswith("._"):
            yield member.name, content[: member.size]
    if stream.read(tarfile.BLOCKSIZE) != ZEROS:
        raise tarfile.ReadError("no end-of-archive mark")
    while stream.read(tarfile.RECORDSIZE):  # gzip compares its checksum at the very end
        pass


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return igzip.open(path) if is_gzip else path.open("rb")


def _parse_list(data: bytes, where: str, split: str) -> pd.DataFrame:
    """Lines of `STEM CLASS-ID SPECIES BREED-ID`."""
    rows, frames = _rows(data, where), [pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)]
    while part := list(islice(rows, 1_000)):  # a table takes a tenth of the memory of such a list
        frames.append(pd.DataFrame(part, columns=list(COLUMNS)).astype(COLUMNS))
    listed = pd.concat(frames, ignore_index=True)
    return listed.assign(split=pd.Categorical([split], [*LISTS.values()]).repeat(len(listed)))


def _rows(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "replace"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(rf"\s*({STEM})\s+\d+\s+([12])\s+\d+\s*", line, re.ASCII)
        if match is None:
            allowed = "NAME_NUMBER CLASS-ID SPECIES BREED-ID, NAME of A-Z a-z 0-9 _ (60), SPECIES 1 (cat) or 2 (dog)"
            found = line.removesuffix("\n")[:100]
            raise InputError(f"{where}: line {number}: {found!r}; allowed: {allowed}")
        stem, species = match.groups()
        yield stem, SPECIES_IDS[species]
