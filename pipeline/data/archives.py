"""The two archives of the Oxford-IIIT Pet dataset, read as streams: nothing is unpacked."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from pipeline.errors import InputError, one_line

SPLITS = ("trainval", "test")  # of the official lists, annotations/SPLIT.txt
SPECIES_IDS = {"1": "cat", "2": "dog"}  # as numbered in the third column of the lists
LINE = re.compile(r"(\w+)_(\d+)\s+\d+\s+([12])\s+\d+")  # the breed has underscores, too


def read_lists(path: Path) -> pd.DataFrame:
    """Read the official lists of annotations.tar.gz: a row per picture, sorted by stem.

    Columns, all str: stem; species, "cat" or "dog"; breed; split, "trainval" or "test".
    Raises InputError for a broken archive, a missing list, a line that makes no sense or a picture listed twice.
    """
    lists = dict(_members(path, "annotations/", ".txt", SPLITS))
    rows = []
    for split in SPLITS:
        if split not in lists:
            raise InputError(f"{path}: no annotations/{split}.txt inside")
        rows += [(*row, split) for row in _rows(lists[split], f"{path}: annotations/{split}.txt")]
    listed = pd.DataFrame(rows, columns=["stem", "species", "breed", "split"], dtype=str)
    if (twice := listed["stem"][listed["stem"].duplicated()]).size:
        raise InputError(f"{path}: {twice.iloc[0]} is listed twice; allowed: once")
    return listed.sort_values("stem", ignore_index=True)


def read_trimaps(path: Path, stems: Collection[str]) -> dict[str, bytes]:
    """Read annotations/trimaps/STEM.png for each of the stems that annotations.tar.gz has.

    Some 20 MB for all published ones. Raises InputError for a broken archive.
    """
    return dict(_members(path, "annotations/trimaps/", ".png", stems))


def read_pictures(path: Path, stems: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (stem, file content) for images/STEM.jpg of each of the stems, in the order of images.tar.gz.

    Raises InputError for a broken archive.
    """
    return _members(path, "images/", ".jpg", stems)


def _members(path: Path, folder: str, suffix: str, stems: Collection[str]) -> Iterator[tuple[str, bytes]]:
    wanted = {f"{folder}{stem}{suffix}": stem for stem in stems}
    try:
        with tarfile.open(path) as archive:  # gzipped or not, whatever its name says
            for member in archive:
                archive.members.clear()  # tarfile keeps each one it has seen
                if member.isfile() and (stem := wanted.pop(member.name.removeprefix("./"), None)):  # the first of two
                    yield stem, archive.extractfile(member).read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro download` makes it") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: not a whole tar archive: {one_line(error)}") from None


def _rows(data: bytes, where: str) -> Iterator[tuple[str, str, str]]:
    """Yield stem, species and breed of each line `STEM CLASS-ID SPECIES BREED-ID`."""
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            allowed = "BREED_NUMBER CLASS-ID SPECIES BREED-ID, SPECIES 1 (cat) or 2 (dog)"
            raise InputError(f"{where}: line {number}: {line[:100]!r}; allowed: {allowed}")
        breed, picture, species = match.groups()
        yield f"{breed}_{picture}", SPECIES_IDS[species], breed
