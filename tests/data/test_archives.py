"""The two archives, read as streams: what counts, what is passed over, and the one line for lists that are wrong."""

from pathlib import Path

import pytest

from pipeline.data.archives import Stems, read_lists, read_pictures, read_trimaps
from pipeline.errors import InputError
from tests.helpers.handmade import TEST, TRAINVAL, annotations, annotations_error, images, pictures_error, trimaps_of


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["gzipped", "plain tar under the name .tar.gz"])
def test_both_archives_are_read_gzipped_or_not(mode):
    path = annotations(more=[("annotations/trimaps/boxer_2.png", b"png")], mode=mode)
    assert list(read_lists(path)["stem"]) == ["Abyssinian_1", "boxer_2"]
    assert trimaps_of(path, "Abyssinian_1", "boxer_2") == {"boxer_2": b"png"}
    path = images("images/boxer_2.jpg", mode=mode)
    assert list(read_pictures(path, Stems({"boxer_2"}))) == [("boxer_2", b"images/boxer_2.jpg")]


def test_a_listed_picture_has_its_breed_from_its_name_its_species_from_column_3_and_its_official_split():
    path = annotations(
        trainval="american_pit_bull_terrier_1 3 2 2\nBritish_Shorthair_20 9 1 6\n",
        test="american_pit_bull_terrier_100 3 2 2\nSphynx_7 34 2 12\n",
    )
    assert read_lists(path).to_numpy().tolist() == [
        ["British_Shorthair_20", "cat", "British_Shorthair", "trainval"],
        ["Sphynx_7", "dog", "Sphynx", "test"],
        ["american_pit_bull_terrier_1", "dog", "american_pit_bull_terrier", "trainval"],
        ["american_pit_bull_terrier_100", "dog", "american_pit_bull_terrier", "test"],
    ]


def test_the_order_of_the_lists_does_not_matter():
    lines = ["Abyssinian_1 1 1 1\n", "Bengal_4 6 1 2\n", "Bengal_3 6 1 2\n"]
    first = read_lists(annotations("".join(lines)))
    assert first.equals(read_lists(annotations("".join(reversed(lines)))))


@pytest.mark.parametrize(
    "trainval",
    [
        b"\xef\xbb\xbfAbyssinian_1 1 1 1\nBengal_2 6 1 2\n",
        b"Abyssinian_1 1 1 1\r\nBengal_2 6 1 2\r\n",
        b"\xef\xbb\xbfAbyssinian_1 1 1 1\r\nBengal_2 6 1 2",
        b"#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\n\nBengal_2\t6 1  2 \n",
    ],
    ids=["byte order mark", "CRLF", "both, no newline at the end", "comment, blank line, tab, trailing space"],
)
def test_lists_saved_by_other_editors_are_read(trainval):
    listed = read_lists(annotations(trainval))
    assert listed[listed["split"] == "trainval"][["stem", "species", "breed"]].to_numpy().tolist() == [
        ["Abyssinian_1", "cat", "Abyssinian"],
        ["Bengal_2", "cat", "Bengal"],
    ]


def test_what_is_no_trimap_is_passed_over():
    strays = ["annotations/trimaps/", "annotations/trimaps/._boxer_2.png", "annotations/xmls/boxer_2.xml"]
    strays += ["annotations/trimaps/README", "annotations/._test.txt", "elsewhere/boxer_3.png"]
    path = annotations(more=[(name, b"") for name in strays] + [("annotations/trimaps/boxer_2.png", b"png")])
    assert trimaps_of(path, "boxer_2", "boxer_3", "README") == {"boxer_2": b"png"}


def test_each_trimap_is_found_again_and_no_other():
    stems = [f"boxer_{number}" for number in (10, 2, 1)]
    path = annotations(more=[(f"annotations/trimaps/{stem}.png", stem.encode() * 9) for stem in stems])
    trimaps = read_trimaps(path, Stems([*stems, "Abyssinian_1"]), Path("scratch"))
    assert [trimaps.get(stem) for stem in stems] == [stem.encode() * 9 for stem in stems]
    assert trimaps.get("Abyssinian_1") is trimaps.get("boxer_3") is trimaps.get("b" * 200) is None
    assert trimaps.found.tolist() == [False, True, True, True]  # Abyssinian_1, boxer_1, boxer_10, boxer_2
    assert list(Path("scratch").iterdir()) == []


def test_pictures_come_in_the_order_of_the_archive_and_strays_are_passed_over():
    strays = ["images/", "images/._boxer_1.jpg", "images/boxer_1.mat", "images/boxer_1.jpg/", "boxer_1.jpg"]
    path = images(*strays, "images/boxer_3.jpg", "images/boxer_9.jpg", "images/boxer_1.jpg")
    found = [stem for stem, _ in read_pictures(path, Stems({"boxer_1", "boxer_3", "boxer_404"}))]
    assert found == ["boxer_3", "boxer_1"]


@pytest.mark.parametrize("missing", ["trainval", "test"])
def test_a_missing_list_is_named(missing):
    assert (
        annotations_error(annotations(**{missing: None})) == f"annotations.tar.gz: no annotations/{missing}.txt inside"
    )


def malformed(line: bytes) -> set[str]:
    """What is said of the line, without its number, wherever it stands in the list."""
    good, found = b"Abyssinian_1 1 1 1", set()
    for number, lines in ((1, [line, good]), (2, [good, line]), (4, [b"# comment", b"", good, line, b"<html>"])):
        start = f"annotations.tar.gz: {TRAINVAL}: line {number}: "
        error = annotations_error(annotations(b"\r\n".join(lines)))
        assert error.startswith(start)
        found.add(error.removeprefix(start))
    return found


ALLOWED = "allowed: NAME_NUMBER CLASS-ID SPECIES BREED-ID, NAME of A-Z a-z 0-9 _ (60), SPECIES 1 (cat) or 2 (dog)"


@pytest.mark.parametrize("line", ["Bengal_2 6 3 2", "Bengal 6 1 2", "Bengal_2 six 1 2", "Bengal_2 6 1 -2", "<html>"])
def test_a_malformed_line_is_quoted_with_its_number_and_what_is_allowed(line):
    assert malformed(line.encode()) == {f"{line!r}; {ALLOWED}"}


@pytest.mark.parametrize(
    "line",
    [
        "Bengal_2",
        "Bengal_2 6",
        "Bengal_2 6 1",
        "Bengal_2 6 1 2 9",
        "Bengal_2 6 1 2 # mine",
        "Bengal_2,6,1,2",
        '"Bengal_2 6 1 2',
    ],
)
def test_so_is_a_line_that_has_not_four_columns(line):
    assert malformed(line.encode()) == {f"{line!r}; {ALLOWED}"}


def test_a_line_that_is_no_text_or_has_no_end_is_still_a_short_line():
    assert malformed(b"\xff\xfe") == {f"'{2 * chr(0xFFFD)}'; {ALLOWED}"}
    assert malformed(b"x" * 5000) == {f"'{'x' * 100}'; {ALLOWED}"}


def test_a_malformed_line_in_the_test_list_names_the_test_list():
    assert annotations_error(annotations(test="boxer_2 2 2\n")).startswith(f"annotations.tar.gz: {TEST}: line 1: ")


@pytest.mark.parametrize(
    ("trainval", "test"),
    [("boxer_2 2 2 1\nboxer_2 2 2 1\n", "boxer_3 2 2 1\n"), ("boxer_2 2 2 1\n", "boxer_2 2 2 1\n")],
    ids=["in one list", "in both lists"],
)
def test_a_picture_listed_twice_is_named(trainval, test):
    error = annotations_error(annotations(trainval, test))
    assert error == "annotations.tar.gz: boxer_2 is listed twice; allowed: once"


def test_a_file_that_is_in_the_archive_twice_is_named():
    trimap = ("annotations/trimaps/boxer_2.png", b"png")
    twice = "boxer_2 is in the archive twice; allowed: once"
    with pytest.raises(InputError, match=f"^annotations.tar.gz: {twice}$"):
        trimaps_of(annotations(more=[trimap, trimap]), "boxer_2")
    path = images("images/boxer_2.jpg", "images/boxer_2.jpg")
    assert pictures_error(path, {"boxer_2"}) == f"images.tar.gz: {twice}"


def test_a_list_that_is_in_the_archive_twice_is_named():
    error = annotations_error(annotations(more=[(TRAINVAL, b"Bengal_2 6 1 2\n")]))
    assert error == "annotations.tar.gz: trainval is in the archive twice; allowed: once"


def test_a_name_with_other_letters_or_far_too_long_is_a_malformed_line():
    for name in ("Bär_2", f"{'x' * 61}_2", f"Bengal_{'2' * 10}"):
        assert malformed(f"{name} 6 1 2".encode()) == {f"{name + ' 6 1 2'!r}; {ALLOWED}"}
    assert list(read_lists(annotations(f"{'x' * 60}_2 6 1 2\n"))["stem"]) == ["boxer_2", f"{'x' * 60}_2"]


def test_a_missing_archive_is_answered_with_the_command_that_makes_it():
    says = "no such file; `dvc repro download` makes it"
    assert annotations_error(Path("annotations.tar.gz")) == f"annotations.tar.gz: {says}"
    assert pictures_error(Path("images.tar.gz"), set()) == f"images.tar.gz: {says}"


def test_an_archive_that_may_not_be_read_is_not_called_broken():
    Path("images.tar.gz").mkdir()
    with pytest.raises(IsADirectoryError):
        list(read_pictures(Path("images.tar.gz"), Stems(set())))
