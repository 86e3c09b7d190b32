"""Small archives made by hand in the working directory, and the one line that reading a bad one ends in."""

from pathlib import Path

import pytest

from pipeline.data.archives import Stems, read_lists, read_pictures, read_trimaps
from pipeline.errors import InputError
from tests.helpers.petsbuilder import write_tar

TRAINVAL, TEST = "annotations/trainval.txt", "annotations/test.txt"


def annotations(trainval="Abyssinian_1 1 1 1\n", test="boxer_2 2 2 1\n", more=(), mode="w:gz") -> Path:
    lists = [(TRAINVAL, trainval), (TEST, test)]
    members = [(name, text.encode() if isinstance(text, str) else text) for name, text in lists if text is not None]
    return write_tar(Path("annotations.tar.gz"), [*members, *more], mode)


def images(*names: str, mode="w:gz") -> Path:
    """Each picture's content is its name."""
    return write_tar(Path("images.tar.gz"), [(name, b"" if name[-1] == "/" else name.encode()) for name in names], mode)


def annotations_error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_lists(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def trimaps_of(path: Path, *stems: str) -> dict[str, bytes]:
    trimaps = read_trimaps(path, Stems(stems), Path())
    found = {stem: trimaps.get(stem) for stem in stems}
    return {stem: data for stem, data in found.items() if data is not None}


def pictures_error(path: Path, stems: set[str]) -> str:
    with pytest.raises(InputError) as caught:
        list(read_pictures(path, Stems(stems)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_members(*members: bytes) -> Path:
    """Good annotations behind some raw members."""
    path = annotations(mode="w")
    path.write_bytes(b"".join(members) + path.read_bytes())
    return path
