"""The two archives, read as streams: what counts, what is passed over, and the one line for each that is wrong."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.archives import read_lists, read_pictures, read_trimaps
from pipeline.errors import InputError
from tests.helpers.petsbuilder import write_tar

TRAINVAL, TEST = "annotations/trainval.txt", "annotations/test.txt"
IMAGES = Path("images.tar.gz")


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def annotations(trainval=b"Abyssinian_1 1 1 1\n", test=b"boxer_2 2 2 1\n", more=()) -> Path:
    lists = [(name, data) for name, data in ((TRAINVAL, trainval), (TEST, test)) if data is not None]
    return write_tar(Path("annotations.tar.gz"), [*lists, *more])


def error_of(read: Callable, *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        list(read(*arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["gzipped", "plain tar under the name .tar.gz"])
@pytest.mark.parametrize("start", ["", "./"])
def test_pictures_come_once_in_the_order_of_the_archive_and_strays_are_passed_over(mode, start):
    strays = ["images/", "images/._boxer_1.jpg", "images/boxer_1.mat", "images/boxer_1.jpg/", "boxer_1.jpg"]
    names = [*strays, "images/boxer_3.jpg", "images/boxer_9.jpg", "images/boxer_1.jpg"]
    members = [(start + name, b"" if name.endswith("/") else name.encode()) for name in names]
    path = write_tar(IMAGES, [*members, (f"{start}images/boxer_3.jpg", b"again")], mode)
    found = list(read_pictures(path, {"boxer_1", "boxer_3", "boxer_404"}))
    assert found == [("boxer_3", b"images/boxer_3.jpg"), ("boxer_1", b"images/boxer_1.jpg")]


def test_lists_of_any_editor_give_breed_species_and_official_split_and_trimaps_are_read_where_there_are_some():
    trimaps = ["trimaps/._Sphynx_7", "xmls/Sphynx_7", "trimaps/Sphynx_7", "trimaps/boxer_3"]
    path = annotations(
        trainval=b"\xef\xbb\xbfbritish_1 9 1 6\r\namerican_pit_bull_terrier_1 3 2 2",  # and a byte order mark
        test=b"#Image CLASS-ID SPECIES\namerican_pit_bull_terrier_100 3 2 2\n\nSphynx_7\t34 2  12 \n",
        more=[(f"annotations/{name}.png", name.encode()) for name in trimaps],
    )
    assert read_lists(path).to_dict("split")["data"] == [
        ["Sphynx_7", "dog", "Sphynx", "test"],
        ["american_pit_bull_terrier_1", "dog", "american_pit_bull_terrier", "trainval"],
        ["american_pit_bull_terrier_100", "dog", "american_pit_bull_terrier", "test"],
        ["british_1", "cat", "british", "trainval"],
    ]
    assert read_trimaps(path, ["british_1", "Sphynx_7"]) == {"Sphynx_7": b"trimaps/Sphynx_7"}


@pytest.mark.parametrize(
    "line", [b"Bengal_2 6 3 2", b"Bengal 6 1 2", b"Bengal_2 6 1", b"Bengal_2 6 1 2 9", b"\xff\xfe", b"<html>" * 50]
)
def test_a_line_that_makes_no_sense_is_quoted_in_short_with_its_number_and_what_is_allowed(line):
    quoted = repr(line.decode(errors="replace")[:100])
    assert error_of(read_lists, annotations(b"# comment\n\nAbyssinian_1 1 1 1\n" + line)) == (
        f"annotations.tar.gz: {TRAINVAL}: line 4: {quoted}; "
        "allowed: BREED_NUMBER CLASS-ID SPECIES BREED-ID, SPECIES 1 (cat) or 2 (dog)"
    )


def test_what_is_missing_and_a_picture_listed_twice_are_named():
    makes_it = "images.tar.gz: no such file; `dvc repro download` makes it"
    assert error_of(read_pictures, IMAGES, ["boxer_1"]) == makes_it
    assert error_of(read_lists, annotations(test=None)) == "annotations.tar.gz: no annotations/test.txt inside"
    twice = annotations(trainval=b"boxer_2 2 2 1\n")
    assert error_of(read_lists, twice) == "annotations.tar.gz: boxer_2 is listed twice; allowed: once"


def test_what_is_cut_or_no_archive_is_named():
    pictures = [(f"images/boxer_{number}.jpg", bytes(range(256)) * 100) for number in (1, 2)]
    whole = [write_tar(IMAGES, pictures, mode).read_bytes() for mode in ("w:gz", "w")]
    cut = [data[: int(share * len(data))] for data in whole for share in (0.2, 0.8)]
    for content in (*cut, b"", b"<!DOCTYPE html>", b"\x1f\x8b\x08\x00 not gzip", gzip.compress(b"x")):
        IMAGES.write_bytes(content)
        says = error_of(read_pictures, IMAGES, ["boxer_1", "boxer_2"])
        assert says.startswith("images.tar.gz: not a whole tar archive: "), content[:20]
