"""The two archives, read as streams: what counts, what is passed over, and the one line for each that is broken."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.archives import read_annotations, read_pictures
from pipeline.stage import InputError
from tests.hostile.files import entry, gzipped_zeros, patched, record, size_field
from tests.petsbuilder import write_tar

TRAINVAL, TEST = "annotations/trainval.txt", "annotations/test.txt"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def annotations(trainval="Abyssinian_1 1 1 1\n", test="boxer_2 2 2 1\n", more=(), mode="w:gz") -> Path:
    lists = [(TRAINVAL, trainval), (TEST, test)]
    members = [(name, text.encode() if isinstance(text, str) else text) for name, text in lists if text is not None]
    return write_tar(Path("annotations.tar.gz"), [*members, *more], mode)


def images(*names: str, mode="w:gz") -> Path:
    """Each picture's content is its name."""
    return write_tar(Path("images.tar.gz"), [(name, b"" if name[-1] == "/" else name.encode()) for name in names], mode)


def annotations_error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_annotations(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pictures_error(path: Path, stems: set[str]) -> str:
    with pytest.raises(InputError) as caught:
        list(read_pictures(path, stems))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["gzipped", "plain tar under the name .tar.gz"])
def test_both_archives_are_read_gzipped_or_not(mode):
    found = read_annotations(annotations(more=[("annotations/trimaps/boxer_2.png", b"png")], mode=mode))
    assert list(found.listed["stem"]) == ["Abyssinian_1", "boxer_2"]
    assert found.trimaps == {"boxer_2": b"png"}
    path = images("images/boxer_2.jpg", mode=mode)
    assert list(read_pictures(path, {"boxer_2"})) == [("boxer_2", b"images/boxer_2.jpg")]


def test_a_listed_picture_has_its_breed_from_its_name_its_species_from_column_3_and_its_official_split():
    path = annotations(
        trainval="american_pit_bull_terrier_1 3 2 2\nBritish_Shorthair_20 9 1 6\n",
        test="american_pit_bull_terrier_100 3 2 2\nSphynx_7 34 2 12\n",
    )
    assert read_annotations(path).listed.to_numpy().tolist() == [
        ["British_Shorthair_20", "cat", "British_Shorthair", "trainval"],
        ["Sphynx_7", "dog", "Sphynx", "test"],
        ["american_pit_bull_terrier_1", "dog", "american_pit_bull_terrier", "trainval"],
        ["american_pit_bull_terrier_100", "dog", "american_pit_bull_terrier", "test"],
    ]


def test_the_order_of_the_lists_does_not_matter():
    lines = ["Abyssinian_1 1 1 1\n", "Bengal_4 6 1 2\n", "Bengal_3 6 1 2\n"]
    first = read_annotations(annotations("".join(lines))).listed
    assert first.equals(read_annotations(annotations("".join(reversed(lines)))).listed)


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
    listed = read_annotations(annotations(trainval)).listed
    assert listed[listed["split"] == "trainval"][["stem", "species", "breed"]].to_numpy().tolist() == [
        ["Abyssinian_1", "cat", "Abyssinian"],
        ["Bengal_2", "cat", "Bengal"],
    ]


def test_what_is_no_trimap_is_passed_over():
    strays = ["annotations/trimaps/", "annotations/trimaps/._boxer_2.png", "annotations/xmls/boxer_2.xml"]
    strays += ["annotations/trimaps/README", "annotations/._test.txt", "elsewhere/boxer_3.png"]
    path = annotations(more=[(name, b"") for name in strays] + [("annotations/trimaps/boxer_2.png", b"png")])
    assert read_annotations(path).trimaps == {"boxer_2": b"png"}


def test_pictures_come_in_the_order_of_the_archive_and_strays_are_passed_over():
    strays = ["images/", "images/._boxer_1.jpg", "images/boxer_1.mat", "images/boxer_1.jpg/", "boxer_1.jpg"]
    path = images(*strays, "images/boxer_3.jpg", "images/boxer_9.jpg", "images/boxer_1.jpg")
    found = [stem for stem, _ in read_pictures(path, {"boxer_1", "boxer_3", "boxer_404"})]
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
    assert annotations_error(annotations(more=[trimap, trimap])) == f"annotations.tar.gz: {twice}"
    path = images("images/boxer_2.jpg", "images/boxer_2.jpg")
    assert pictures_error(path, {"boxer_2"}) == f"images.tar.gz: {twice}"


def test_a_list_that_is_in_the_archive_twice_is_named():
    error = annotations_error(annotations(more=[(TRAINVAL, b"Bengal_2 6 1 2\n")]))
    assert error == "annotations.tar.gz: trainval is in the archive twice; allowed: once"


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
    assert [stem for stem, _ in read_pictures(path, {"boxer_1"})] == ["boxer_1"]


@pytest.mark.parametrize(
    ("place", "level", "says"),
    [
        (-8, 9, r"CRC check failed 0x\w+ != 0x\w+"),
        (-4, 9, "Incorrect length of data produced"),
        (1024, 0, r"CRC check failed 0x\w+ != 0x\w+"),  # stored: the picture's own byte, all else is as it was
        (1024, 9, ".+"),
        (12, 9, ".+"),
    ],
    ids=["CRC", "length", "picture, stored", "picture, deflated", "code table"],
)
def test_a_flipped_bit_in_a_gzip_is_an_error(place, level, says):
    path = write_tar(Path("images.tar.gz"), [("images/boxer_1.jpg", np.random.default_rng(1).bytes(3000))], "w")
    packed = bytearray(gzip.compress(path.read_bytes(), level))
    path.write_bytes(packed)
    assert len(list(read_pictures(path, {"boxer_1"}))) == 1
    packed[place] ^= 1
    path.write_bytes(packed)
    assert re.fullmatch(rf"images.tar.gz: not a whole tar archive: {says}", pictures_error(path, {"boxer_1"}))


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


def test_a_missing_archive_is_answered_with_the_command_that_makes_it():
    says = "no such file; `dvc repro download` makes it"
    assert annotations_error(Path("annotations.tar.gz")) == f"annotations.tar.gz: {says}"
    assert pictures_error(Path("images.tar.gz"), set()) == f"images.tar.gz: {says}"


def with_members(*members: bytes) -> Path:
    """Good annotations behind some raw members."""
    path = annotations(mode="w")
    path.write_bytes(b"".join(members) + path.read_bytes())
    return path


def test_a_name_with_other_letters_or_far_too_long_is_a_malformed_line():
    for name in ("Bär_2", f"{'x' * 61}_2", f"Bengal_{'2' * 10}"):
        assert malformed(f"{name} 6 1 2".encode()) == {f"{name + ' 6 1 2'!r}; {ALLOWED}"}
    assert list(read_annotations(annotations(f"{'x' * 60}_2 6 1 2\n")).listed["stem"]) == ["boxer_2", f"{'x' * 60}_2"]


@pytest.mark.parametrize(
    "name",
    ["../annotations/test.txt", "/annotations/test.txt", "annotations/trimaps/../test.txt", "annotations//test.txt"],
)
def test_a_path_that_leads_elsewhere_is_no_file_of_ours(name):
    found = read_annotations(with_members(entry(name, b"Bengal_2 6 1 2")))
    assert list(found.listed["stem"]) == ["Abyssinian_1", "boxer_2"]
    assert found.trimaps == {}


@pytest.mark.parametrize("stem", ["boxer", "b\x1b[31m_1", "b\n_1", "b\udcff_1", "Bär_1", f"{'x' * 61}_1"])
def test_a_trimap_that_no_list_can_name_is_passed_over_even_twice(stem):
    odd = entry(f"annotations/trimaps/{stem}.png", b"png")
    assert read_annotations(with_members(odd, odd)).trimaps == {}


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_links_devices_and_folders_have_no_content_whatever_size_they_declare(kind):
    odd = entry("annotations/test.txt", type=kind, linkname="/etc/passwd", size=4096)
    assert list(read_annotations(with_members(odd)).listed["stem"]) == ["Abyssinian_1", "boxer_2"]


@pytest.mark.parametrize(
    "members",
    [
        [entry("x", record("GNU.sparse.map", b"one,two"), type=b"x")],
        [entry("x", record("GNU.sparse.major", b"1") + record("GNU.sparse.minor", b"0"), type=b"x"), entry("y", b"no")],
        [entry("x", b"20 hdrcharset=\xff\xfe\n", type=b"x")],
        [entry("x", record("size", b"-5"), type=b"x")],
        [entry("x", b"1" * 100_000, type=b"x")],
        [entry("x", type=b"x")] * 3000,
        [entry("x", record("path", TEST.encode()), type=b"g")],
        [entry("x", TEST.encode(), type=b"L"), entry("annotations/README", b"text")],
        [patched(entry("x", type=b"S"), "sparse map", bytes(96) + b"\1" + size_field(2**40))],
    ],
    ids=["map", "map in the file", "charset", "size", "digits", "chain", "path for all", "long name", "sparse"],
)
def test_headers_that_would_rename_resize_or_map_other_members_are_passed_over(members):
    assert list(read_annotations(with_members(*members)).listed["stem"]) == ["Abyssinian_1", "boxer_2"]


@pytest.mark.parametrize("kind", [b"0", b"5", b"x", b"L", b"S", b"Z"])
@pytest.mark.parametrize("size", [16 * 2**20 + 1, 2**62, -1])
def test_a_member_far_larger_than_a_picture_is_refused_by_its_header_whatever_it_is(kind, size):
    error = annotations_error(with_members(entry("annotations/big", type=kind, size=size)))
    assert error == f"annotations.tar.gz: 'annotations/big': {size} bytes; allowed: 0 to 16777216"


def test_a_member_of_the_largest_size_is_read():
    path = write_tar(Path("images.tar.gz"), [("images/boxer_1.jpg", bytes(16 * 2**20))], "w")
    assert [len(data) for _, data in read_pictures(path, {"boxer_1"})] == [16 * 2**20]


def test_an_odd_name_in_a_message_cannot_break_or_colour_the_line():
    error = annotations_error(with_members(entry("a\n\x1b[31m\udcff", size=-1)))
    assert error == r"annotations.tar.gz: 'a\n\x1b[31m\udcff': -1 bytes; allowed: 0 to 16777216"


@pytest.mark.parametrize("whole", [True, False], ids=["behind the end mark", "instead of an archive"])
def test_a_gzip_that_expands_far_beyond_its_size_is_refused(whole):
    path = images("images/boxer_1.jpg")
    path.write_bytes((path.read_bytes() if whole else gzip.compress(entry("x", size=2**24))) + gzipped_zeros(80))
    says = "expands to more than 20 times its size; pack it without gzip"
    assert pictures_error(path, {"boxer_1"}) == f"images.tar.gz: {says}"


def test_zeros_behind_the_end_mark_are_padding():
    path = images("images/boxer_1.jpg")
    path.write_bytes(path.read_bytes() + gzipped_zeros(8))
    assert [stem for stem, _ in read_pictures(path, {"boxer_1"})] == ["boxer_1"]


def test_a_list_far_longer_than_any_is_refused():
    error = annotations_error(annotations(b"\n" * (2 * 2**20 + 1)))
    assert error == f"annotations.tar.gz: {TRAINVAL}: 2097153 bytes; allowed: 2097152"


def test_trimaps_that_would_fill_the_memory_are_refused_empty_ones_too(monkeypatch):
    monkeypatch.setattr("pipeline.archives.MAX_TRIMAP_BYTES", 4 * 512)
    trimaps = [entry(f"annotations/trimaps/boxer_{number}.png") for number in range(5)]
    assert len(read_annotations(with_members(*trimaps[:4])).trimaps) == 4
    says = "trimaps of more than 2048 bytes; allowed: that many in all"
    assert annotations_error(with_members(*trimaps)) == f"annotations.tar.gz: {says}"


def test_an_archive_that_may_not_be_read_is_not_called_broken():
    Path("images.tar.gz").mkdir()
    with pytest.raises(IsADirectoryError):
        list(read_pictures(Path("images.tar.gz"), set()))
