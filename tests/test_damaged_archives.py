"""Archives that are cut short or have other bits than they had: one line each, wherever the damage is."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.archives import Stems, read_pictures
from tests.helpers.handmade import images, pictures_error
from tests.helpers.petsbuilder import write_tar


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_archive_cut_inside_a_picture_is_an_error(mode):
    path = write_tar(Path("images.tar.gz"), [("images/boxer_1.jpg", bytes(range(256)) * 8)], mode)
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 + 1024] if mode == "w" else whole[: len(whole) * 3 // 4])
    assert pictures_error(path, {"boxer_1"}).startswith("images.tar.gz: not a whole tar archive: ")


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize(
    "blocks", [2, 4, 5], ids=["between two pictures", "before its end mark", "inside its end mark"]
)
def test_an_archive_cut_where_tarfile_does_not_see_it_is_an_error(blocks, compress):
    path = images("images/boxer_1.jpg", "images/boxer_2.jpg", mode="w")
    # Each picture is a block of header and a block of content, the end mark is two blocks of zeros.
    path.write_bytes(compress(path.read_bytes()[: 512 * blocks]))
    error = pictures_error(path, {"boxer_1", "boxer_2"})
    assert error == "images.tar.gz: not a whole tar archive: no end-of-archive mark"


def test_an_archive_that_ends_with_its_end_mark_is_whole():
    path = images("images/boxer_1.jpg", mode="w")
    path.write_bytes(path.read_bytes()[: 512 * 4])  # without the zeros that fill tarfile's last record
    assert [stem for stem, _ in read_pictures(path, Stems({"boxer_1"}))] == ["boxer_1"]


@pytest.mark.parametrize(
    ("place", "level", "says"),
    [
        (-8, 9, r"CRC check failed \w+ != \w+"),
        (-4, 9, "Incorrect length of data produced"),
        (1024, 0, r"CRC check failed \w+ != \w+"),  # stored: the picture's own byte, all else is as it was
        (1024, 9, ".+"),
        (12, 9, ".+"),
    ],
    ids=["CRC", "length", "picture, stored", "picture, deflated", "code table"],
)
def test_a_flipped_bit_in_a_gzip_is_an_error(place, level, says):
    path = write_tar(Path("images.tar.gz"), [("images/boxer_1.jpg", np.random.default_rng(1).bytes(3000))], "w")
    packed = bytearray(gzip.compress(path.read_bytes(), level))
    path.write_bytes(packed)
    assert len(list(read_pictures(path, Stems({"boxer_1"})))) == 1
    packed[place] ^= 1
    path.write_bytes(packed)
    assert re.fullmatch(rf"images.tar.gz: not a whole tar archive: {says}", pictures_error(path, {"boxer_1"}))


def test_a_gzip_with_a_name_of_megabytes_is_an_error():
    path = images("images/boxer_1.jpg")
    path.write_bytes(b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 2**20)
    assert re.match("images.tar.gz: not a whole tar archive: Gzip header", pictures_error(path, {"boxer_1"}))


@pytest.mark.parametrize("missing", [1, 8, 9], ids=["in the length", "the CRC and the length", "in the last block"])
def test_a_gzip_cut_at_its_very_end_is_an_error(missing):
    path = images("images/boxer_1.jpg")
    path.write_bytes(path.read_bytes()[:-missing])
    assert re.match("images.tar.gz: not a whole tar archive: .*ended", pictures_error(path, {"boxer_1"}))


def test_a_damaged_header_is_an_error():
    path = images("images/boxer_1.jpg", "images/boxer_2.jpg", mode="w")
    content = bytearray(path.read_bytes())
    content[1024] ^= 1  # the first letter of the second name, against the header's checksum
    path.write_bytes(content)
    assert pictures_error(path, {"boxer_1", "boxer_2"}) == "images.tar.gz: not a whole tar archive: bad checksum"


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"x" * 2000, b"\x1f\x8b\x08\x00 not gzip"])
def test_what_is_not_an_archive_is_named(content):
    Path("images.tar.gz").write_bytes(content)
    assert pictures_error(Path("images.tar.gz"), {"a_1"}).startswith("images.tar.gz: not a whole tar archive: ")
