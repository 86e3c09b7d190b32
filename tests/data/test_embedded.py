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
SPLITS = ("trainval", "test")
ARCHIVES = ("images.tar.gz", "annotations.tar.gz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    embedded.draw(folder, PER_BREED)
    return folder


@pytest.fixture(scope="module")
def images(folder: Path) -> dict[str, bytes]:
    """Content by file name: `boxer_1.jpg`."""
    return {name.removeprefix("images/"): content for name, content in files(folder / "images.tar.gz").items()}


@pytest.fixture(scope="module")
def annotations(folder: Path) -> dict[str, bytes]:
    """Content by name below annotations/: `list.txt`, `trimaps/boxer_1.png`."""
    members = files(folder / "annotations.tar.gz").items()
    return {name.removeprefix("annotations/"): content for name, content in members}


@pytest.fixture(scope="module")
def splits(annotations: dict[str, bytes]) -> dict[str, dict[str, list[int]]]:
    """The three numbers behind each name of the split lists."""
    rows = {name: [line.split(" ") for line in annotations[f"{name}.txt"].decode().splitlines()] for name in SPLITS}
    return {split: {name: [int(number) for number in ids] for name, *ids in rows[split]} for split in SPLITS}


def files(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_another_process_hash_seed_time_zone_and_umask_give_the_same_bytes(folder, tmp_path):
    code = "import sys, pathlib, pipeline.data.embedded as e; e.draw(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    around = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, tmp_path, str(PER_BREED)]
    subprocess.run(command, env=around, cwd=REPOSITORY, umask=0o077, check=True)
    for archive in ARCHIVES:
        assert (tmp_path / archive).read_bytes() == (folder / archive).read_bytes()


def test_archives_tell_nothing_of_when_where_and_by_whom_they_were_made(folder):
    for archive in ARCHIVES:
        assert (folder / archive).read_bytes()[3:8] == bytes(5), "gzip's flags (a file name) and time"
        with tarfile.open(folder / archive) as tar:
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_every_breed_has_its_numbered_pictures_of_various_oblong_sizes(images):
    pictures = {name: content for name, content in images.items() if name.endswith(".jpg")}
    assert sorted(pictures) == sorted(f"{breed}_{n}.jpg" for breed in CATS + DOGS for n in range(1, PER_BREED + 1))
    assert len({hashlib.sha256(content).digest() for content in pictures.values()}) == len(pictures)
    sizes = {opened(content).size for content in pictures.values()}
    assert all(160 <= min(size) < max(size) <= 320 for size in sizes)
    assert len(sizes) > len(pictures) / 2


def test_odd_numbers_are_test_even_ones_trainval_and_two_pictures_are_in_no_list(splits, annotations):
    names = {f"{breed}_{number}" for breed in CATS + DOGS for number in range(1, PER_BREED + 1)}
    listed = names - {"Abyssinian_3", "boxer_3"}
    assert splits["test"].keys() == {name for name in listed if name[-1] in "135"}
    assert splits["trainval"].keys() == {name for name in listed if name[-1] in "24"}
    lines = annotations["list.txt"].decode().splitlines()
    assert all(line.startswith("#") for line in lines[:6])
    assert sorted(lines[6:]) == sorted(f"{name} {a} {b} {c}" for s in SPLITS for name, (a, b, c) in splits[s].items())


def test_the_lists_number_classes_species_and_the_breeds_of_a_species(splits):
    in_order = sorted(CATS + DOGS, key=str.lower)
    for name, ids in (splits["trainval"] | splits["test"]).items():
        breed = name.rsplit("_", 1)[0]
        kin = CATS if breed in CATS else DOGS
        assert ids == [in_order.index(breed) + 1, 1 if breed in CATS else 2, kin.index(breed) + 1]


def test_each_listed_picture_has_a_trimap_of_its_size_with_about_a_tenth_contour(images, annotations, splits):
    listed = splits["trainval"].keys() | splits["test"].keys()
    trimaps = {Path(name).stem: content for name, content in annotations.items() if name.startswith("trimaps/")}
    strays = {name for name in trimaps if name.startswith("._")}
    assert (trimaps.keys() - strays == listed, len(strays)) == (True, 12)
    for name in listed:
        trimap = opened(trimaps[name])
        assert (trimap.mode, trimap.size) == ("L", opened(images[f"{name}.jpg"]).size)
        assert set(np.unique(trimap)) == {1, 2, 3}
    assert 0.07 < np.mean([np.mean(np.asarray(opened(trimaps[name])) == 3) for name in listed]) < 0.14


def test_some_pictures_are_not_what_their_names_say(images):
    odd = ("Abyssinian_1", "Abyssinian_3", "Abyssinian_5", "beagle_1", "Bengal_2")
    kinds = [opened(images[f"{name}.jpg"]) for name in odd]
    assert [(kind.format, kind.mode) for kind in kinds] == [
        ("JPEG", "RGB"),
        ("GIF", "P"),
        ("PNG", "RGBA"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
    ]
    assert "Abyssinian_100.mat" in images
