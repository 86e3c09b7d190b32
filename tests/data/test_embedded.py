"""The embedded pets: the same bytes everywhere, and the layout and quirks of the published archives."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from pipeline.data import embedded
from tests.helpers.project import REPOSITORY

PER_BREED = 6
CATS = {"Abyssinian", "Bengal", "Birman", "British_Shorthair", "Egyptian_Mau"}
DOGS = {"american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle", "boxer", "chihuahua", "shiba_inu"}
STRAY = "trimaps/._"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    embedded.draw(folder, PER_BREED)
    return folder


@pytest.fixture(scope="module")
def images(folder: Path) -> dict[str, bytes]:
    """Content by file name: `boxer_1.jpg`."""
    return {name.removeprefix("images/"): content for name, content in _files(folder / "images.tar.gz").items()}


@pytest.fixture(scope="module")
def annotations(folder: Path) -> dict[str, bytes]:
    """Content by name below annotations/: `list.txt`, `trimaps/boxer_1.png`."""
    files = _files(folder / "annotations.tar.gz")
    return {name.removeprefix("annotations/"): content for name, content in files.items()}


@pytest.fixture(scope="module")
def splits(annotations: dict[str, bytes]) -> dict[str, list[list[str]]]:
    """The four columns of each line of the split lists."""
    names = ("trainval", "test")
    return {name: [line.split(" ") for line in annotations[f"{name}.txt"].decode().splitlines()] for name in names}


def _files(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive, "r:*") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_another_process_hash_seed_time_zone_and_umask_give_the_same_bytes(folder, tmp_path):
    code = "import sys, pathlib, pipeline.data.embedded as e; e.draw(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    subprocess.run(
        [sys.executable, "-c", code, tmp_path, str(PER_BREED)],
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        cwd=REPOSITORY,
        umask=0o077,
        check=True,
    )
    for archive in ("images.tar.gz", "annotations.tar.gz"):
        assert (tmp_path / archive).read_bytes() == (folder / archive).read_bytes()


def test_archives_tell_nothing_of_when_where_and_by_whom_they_were_made(folder):
    for archive in ("images.tar.gz", "annotations.tar.gz"):
        header = (folder / archive).read_bytes()[:8]
        assert header[3:] == bytes(5), "gzip's flags (a file name) and time"
        with tarfile.open(folder / archive) as tar:
            members = tar.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
        assert {m.mode for m in members if m.isfile()} == {0o644}


def test_fewer_pictures_per_breed_are_the_first_of_more(images, tmp_path):
    embedded.draw(tmp_path, per_breed=1)
    fewer = _files(tmp_path / "images.tar.gz")
    assert len(fewer) == len(embedded.BREEDS) + 1  # and the stray .mat
    assert all(images[name.removeprefix("images/")] == content for name, content in fewer.items())


def test_every_breed_has_its_numbered_pictures(images):
    breeds = [Path(name).stem.rsplit("_", 1) for name in images if name.endswith(".jpg")]
    assert sorted(breeds) == sorted([b, str(n)] for b in CATS | DOGS for n in range(1, PER_BREED + 1))
    assert len(set(images.values())) == len(images), "no two are the same"


def test_pictures_are_of_various_oblong_sizes(images):
    sizes = [_open(content).size for name, content in images.items() if name.endswith(".jpg")]
    assert all(160 <= side <= 320 for size in sizes for side in size)
    assert all(width != height for width, height in sizes)
    assert len({width / height for width, height in sizes}) > len(sizes) / 2


def test_the_lists_are_disjoint_and_halve_each_breed(splits):
    trainval, test = ({row[0] for row in splits[split]} for split in ("trainval", "test"))
    assert not trainval & test
    for breed in (CATS | DOGS) - {"Abyssinian", "boxer"}:  # each of these two has a picture in no split
        assert sum(name.rsplit("_", 1)[0] == breed for name in trainval) == PER_BREED // 2
        assert sum(name.rsplit("_", 1)[0] == breed for name in test) == PER_BREED // 2


def test_the_lists_number_classes_species_and_the_breeds_of_a_species(splits):
    ids = {row[0].rsplit("_", 1)[0]: [int(number) for number in row[1:]] for rows in splits.values() for row in rows}
    expected = {breed: [1, place] for place, breed in enumerate(sorted(CATS), 1)}
    expected |= {breed: [2, place] for place, breed in enumerate(sorted(DOGS), 1)}
    in_order = sorted(CATS | DOGS, key=str.lower)
    assert ids == {breed: [place, *expected[breed]] for place, breed in enumerate(in_order, 1)}


def test_list_txt_is_six_comment_lines_and_both_splits(annotations, splits):
    lines = annotations["list.txt"].decode().splitlines()
    assert lines[0] == "#Image CLASS-ID SPECIES BREED ID"
    assert all(line.startswith("#") for line in lines[:6])
    assert sorted(lines[6:]) == sorted(" ".join(row) for row in splits["trainval"] + splits["test"])


def test_listed_pictures_and_no_others_have_a_trimap(images, annotations, splits):
    listed = {row[0] for row in splits["trainval"] + splits["test"]}
    assert {f"{name}.jpg" for name in listed} <= images.keys()
    trimaps = {Path(name).stem for name in annotations if name.startswith("trimaps/") and not name.startswith(STRAY)}
    assert trimaps == listed


def test_a_trimap_has_its_pictures_size_and_all_of_1_2_3_about_a_tenth_of_it_contour(images, annotations, splits):
    contours = []
    for name, *_ in splits["trainval"] + splits["test"]:
        trimap = _open(annotations[f"trimaps/{name}.png"])
        assert trimap.mode == "L"
        assert trimap.size == _open(images[f"{name}.jpg"]).size
        assert set(np.unique(trimap)) == {1, 2, 3}
        contours.append(np.mean(np.asarray(trimap) == 3))
    assert 0.07 < np.mean(contours) < 0.14


@pytest.mark.parametrize(
    ("name", "file_format", "mode", "split"),
    [
        ("Abyssinian_1", "JPEG", "RGB", "test"),
        ("Abyssinian_3", "GIF", "P", None),
        ("Abyssinian_5", "PNG", "RGBA", "test"),
        ("beagle_1", "JPEG", "CMYK", "test"),
        ("Bengal_2", "JPEG", "L", "trainval"),
        ("boxer_3", "JPEG", "RGB", None),
    ],
)
def test_what_a_jpg_really_is_and_where_it_is_listed(images, splits, name, file_format, mode, split):
    picture = _open(images[f"{name}.jpg"])
    assert (picture.format, picture.mode) == (file_format, mode)
    assert [part for part, rows in splits.items() if name in (row[0] for row in rows)] == ([split] if split else [])


def test_stray_files_lie_among_the_pictures_and_the_trimaps(images, annotations):
    assert "Abyssinian_100.mat" in images
    strays = [content for name, content in annotations.items() if name.startswith(STRAY)]
    assert strays
    for content in strays:
        with pytest.raises(UnidentifiedImageError):
            _open(content)
