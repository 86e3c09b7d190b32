"""The two archives, read as streams: what counts, what is passed over, and the one line for each that is wrong."""

import gzip
from pathlib import Path

import pytest

from pipeline.data.archives import read_lists, read_pictures, read_trimaps
from pipeline.errors import InputError
from tests.helpers.petsbuilder import write_tar

TRAINVAL, TEST = "annotations/trainval.txt", "annotations/test.txt"
BOTH = pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["gzipped", "plain tar under the name .tar.gz"])


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def annotations(trainval="Abyssinian_1 1 1 1\n", test="boxer_2 2 2 1\n", more=(), mode="w:gz") -> Path:
    lists = [(TRAINVAL, trainval), (TEST, test)]
    members = [(name, text.encode() if isinstance(text, str) else text) for name, text in lists if text is not None]
    return write_tar(Path("annotations.tar.gz"), [*members, *more], mode)


def lists_error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_lists(path)
    return str(caught.value)


def pictures_error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(read_pictures(path, ["boxer_1", "boxer_2"]))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@BOTH
@pytest.mark.parametrize("start", ["", "./"])
def test_pictures_come_once_in_the_order_of_the_archive_and_strays_are_passed_over(mode, start):
    strays = ["images/", "images/._boxer_1.jpg", "images/boxer_1.mat", "images/boxer_1.jpg/", "boxer_1.jpg"]
    names = [*strays, "images/boxer_3.jpg", "images/boxer_9.jpg", "images/boxer_1.jpg"]
    members = [(start + name, b"" if name.endswith("/") else name.encode()) for name in names]
    path = write_tar(Path("images.tar.gz"), [*members, (f"{start}images/boxer_3.jpg", b"again")], mode)
    found = list(read_pictures(path, {"boxer_1", "boxer_3", "boxer_404"}))
    assert found == [("boxer_3", b"images/boxer_3.jpg"), ("boxer_1", b"images/boxer_1.jpg")]


def test_the_trimaps_that_are_there_are_read_and_strays_are_passed_over():
    names = ["trimaps/._boxer_2.png", "xmls/boxer_2.xml", "trimaps/boxer_2.png", "trimaps/boxer_3.png"]
    path = annotations(more=[(f"annotations/{name}", name.encode()) for name in names])
    assert read_trimaps(path, ["Abyssinian_1", "boxer_2"]) == {"boxer_2": b"trimaps/boxer_2.png"}


def test_a_listed_picture_has_its_breed_from_its_name_its_species_from_column_3_and_its_official_split():
    path = annotations(
        trainval="british_1 9 1 6\namerican_pit_bull_terrier_1 3 2 2\n",
        test="american_pit_bull_terrier_100 3 2 2\nSphynx_7 34 2 12\n",
    )
    assert read_lists(path).to_dict("split")["data"] == [
        ["Sphynx_7", "dog", "Sphynx", "test"],
        ["american_pit_bull_terrier_1", "dog", "american_pit_bull_terrier", "trainval"],
        ["american_pit_bull_terrier_100", "dog", "american_pit_bull_terrier", "test"],
        ["british_1", "cat", "british", "trainval"],
    ]


@pytest.mark.parametrize(
    "trainval",
    [
        b"\xef\xbb\xbfBengal_2 6 1 2\r\nAbyssinian_1 1 1 1",
        b"#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\n\nBengal_2\t6 1  2 \n",
    ],
    ids=["byte order mark, other order, CRLF, no newline at the end", "comment, blank line, tab, trailing space"],
)
def test_lists_saved_by_other_editors_are_read(trainval):
    assert read_lists(annotations(trainval))["stem"].tolist() == ["Abyssinian_1", "Bengal_2", "boxer_2"]


@pytest.mark.parametrize("line", ["Bengal_2 6 3 2", "Bengal 6 1 2", "Bengal_2 6 1", "Bengal_2 6 1 2 9", "<html>"])
def test_a_line_that_makes_no_sense_is_quoted_with_its_number_and_what_is_allowed(line):
    assert lists_error(annotations(f"# comment\n\nAbyssinian_1 1 1 1\n{line}\n")) == (
        f"annotations.tar.gz: {TRAINVAL}: line 4: {line!r}; "
        "allowed: BREED_NUMBER CLASS-ID SPECIES BREED-ID, SPECIES 1 (cat) or 2 (dog)"
    )


def test_a_line_that_is_no_text_or_has_no_end_is_still_a_short_line():
    assert f"{TEST}: line 1: '{2 * chr(0xFFFD)}'; " in lists_error(annotations(test=b"\xff\xfe"))
    assert f"{TEST}: line 1: '{'x' * 100}'; " in lists_error(annotations(test="x" * 5000))


def test_a_missing_list_and_a_picture_listed_twice_are_named():
    assert lists_error(annotations(test=None)) == "annotations.tar.gz: no annotations/test.txt inside"
    twice = annotations(trainval="boxer_2 2 2 1\n")
    assert lists_error(twice) == "annotations.tar.gz: boxer_2 is listed twice; allowed: once"


def test_a_missing_archive_is_answered_with_the_command_that_makes_it():
    assert pictures_error(Path("images.tar.gz")) == "images.tar.gz: no such file; `dvc repro download` makes it"


@BOTH
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_an_archive_that_is_cut_is_an_error(mode, share):
    pictures = [(f"images/boxer_{number}.jpg", bytes(range(256)) * 100) for number in (1, 2)]
    path = write_tar(Path("images.tar.gz"), pictures, mode)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert pictures_error(path).startswith("images.tar.gz: not a whole tar archive: ")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x1f\x8b\x08\x00 not gzip", gzip.compress(b"x")])
def test_what_is_not_an_archive_is_named(content):
    Path("images.tar.gz").write_bytes(content)
    assert pictures_error(Path("images.tar.gz")).startswith("images.tar.gz: not a whole tar archive: ")
