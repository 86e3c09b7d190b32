"""The embedded pets: the same bytes everywhere, and the layout and quirks of the published archives."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import embedded
from tests.helpers.project import REPOSITORY

PER_BREED = 5
CATS = ["Abyssinian", "Bengal", "Birman", "British_Shorthair", "Egyptian_Mau"]
DOGS = ["american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle", "boxer", "chihuahua", "shiba_inu"]
ARCHIVES = ("images.tar.gz", "annotations.tar.gz")
NAMES = {f"{breed}_{number}" for breed in CATS + DOGS for number in range(1, PER_BREED + 1)}
LISTED = NAMES - {"Abyssinian_3", "boxer_3"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    embedded.draw(folder, PER_BREED)
    return folder


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, bytes]:
    """Content by name in the archives: `images/boxer_1.jpg`, `annotations/trimaps/boxer_1.png`."""
    content = {}
    for archive in ARCHIVES:
        with tarfile.open(folder / archive) as tar:
            content |= {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    return content


@pytest.fixture(scope="module")
def pictures(files: dict[str, bytes]) -> dict[str, Image.Image]:
    """By stem."""
    return {Path(name).stem: Image.open(io.BytesIO(files[name])) for name in files if name.endswith(".jpg")}


def test_archives_are_the_same_bytes_everywhere_and_tell_nothing_of_when_and_by_whom_they_were_made(folder, tmp_path):
    code = "import sys, pathlib, pipeline.data.embedded as e; e.draw(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    around = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, tmp_path, str(PER_BREED)]
    subprocess.run(command, env=around, cwd=REPOSITORY, umask=0o077, check=True)
    for archive in ARCHIVES:
        data = (folder / archive).read_bytes()
        assert (tmp_path / archive).read_bytes() == data
        assert data[3:8] == bytes(5), "gzip's flags (a file name) and time"
        with tarfile.open(folder / archive) as tar:
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_every_breed_has_its_numbered_pictures_of_various_oblong_sizes_and_some_are_no_rgb_jpeg(files, pictures):
    assert pictures.keys() == NAMES
    assert len({hashlib.sha256(files[f"images/{name}.jpg"]).digest() for name in NAMES}) == len(NAMES)
    sizes = {picture.size for picture in pictures.values()}
    assert all(160 <= min(size) < max(size) <= 320 for size in sizes)
    assert len(sizes) > len(NAMES) / 2
    odd = {name: kind for name in NAMES if (kind := (pictures[name].format, pictures[name].mode)) != ("JPEG", "RGB")}
    assert odd == {
        "Abyssinian_3": ("GIF", "P"),
        "Abyssinian_5": ("PNG", "RGBA"),
        "beagle_1": ("JPEG", "CMYK"),
        "Bengal_2": ("JPEG", "L"),
    }
    assert "images/Abyssinian_100.mat" in files


def test_odd_numbers_are_test_even_ones_trainval_and_the_lists_number_class_species_and_breed(files):
    in_order = sorted(CATS + DOGS, key=str.lower)
    expected = {}
    for name in LISTED:
        breed, number = name.rsplit("_", 1)
        species, kin = (1, CATS) if breed in CATS else (2, DOGS)
        line = f"{name} {in_order.index(breed) + 1} {species} {kin.index(breed) + 1}"
        expected[line] = "test" if number in "135" else "trainval"
    lists = {name: files[f"annotations/{name}.txt"].decode().splitlines() for name in ("list", "trainval", "test")}
    for split in ("trainval", "test"):
        assert sorted(lists[split]) == sorted(line for line in expected if expected[line] == split)
    assert all(line.startswith("#") for line in lists["list"][:6])
    assert sorted(lists["list"][6:]) == sorted(expected)


def test_each_listed_picture_has_a_trimap_of_its_size_with_about_a_tenth_contour(files, pictures):
    trimaps = {Path(name).stem: content for name, content in files.items() if "/trimaps/" in name}
    strays = {name for name in trimaps if name.startswith("._")}
    assert (trimaps.keys() - strays, len(strays)) == (LISTED, 12)
    contour = []
    for name in LISTED:
        trimap = Image.open(io.BytesIO(trimaps[name]))
        assert (trimap.mode, trimap.size) == ("L", pictures[name].size)
        assert set(np.unique(trimap)) == {1, 2, 3}
        contour.append(np.mean(np.asarray(trimap) == 3))
    assert 0.07 < np.mean(contour) < 0.14
