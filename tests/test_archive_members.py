"""Members of an archive that lead elsewhere, pretend, or would fill the memory: passed over, or one line."""

import gzip
from pathlib import Path

import pytest

from pipeline.data.archives import Stems, read_lists, read_pictures
from tests.helpers.handmade import TEST, annotations_error, images, pictures_error, trimaps_of, with_members
from tests.helpers.petsbuilder import write_tar
from tests.hostile.files import entry, gzipped_zeros, patched, record, size_field


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../annotations/test.txt", "/annotations/test.txt", "annotations/trimaps/../test.txt", "annotations//test.txt"],
)
def test_a_path_that_leads_elsewhere_is_no_file_of_ours(name):
    path = with_members(entry(name, b"Bengal_2 6 1 2"))
    assert list(read_lists(path)["stem"]) == ["Abyssinian_1", "boxer_2"]
    assert trimaps_of(path, "test") == {}


@pytest.mark.parametrize("stem", ["boxer", "b\x1b[31m_1", "b\n_1", "b\udcff_1", "Bär_1", f"{'x' * 61}_1"])
def test_a_trimap_that_no_list_names_is_passed_over_even_twice(stem):
    odd = entry(f"annotations/trimaps/{stem}.png", b"png")
    assert trimaps_of(with_members(odd, odd), "boxer_2") == {}


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_links_devices_and_folders_have_no_content_whatever_size_they_declare(kind):
    odd = entry("annotations/test.txt", type=kind, linkname="/etc/passwd", size=4096)
    assert list(read_lists(with_members(odd))["stem"]) == ["Abyssinian_1", "boxer_2"]


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
    assert list(read_lists(with_members(*members))["stem"]) == ["Abyssinian_1", "boxer_2"]


@pytest.mark.parametrize("kind", [b"0", b"5", b"x", b"L", b"S", b"Z"])
@pytest.mark.parametrize("size", [16 * 2**20 + 1, 2**62, -1])
def test_a_member_far_larger_than_a_picture_is_refused_by_its_header_whatever_it_is(kind, size):
    error = annotations_error(with_members(entry("annotations/big", type=kind, size=size)))
    assert error == f"annotations.tar.gz: 'annotations/big': {size} bytes; allowed: 0 to 16777216"


def test_a_member_of_the_largest_size_is_read():
    path = write_tar(Path("images.tar.gz"), [("images/boxer_1.jpg", bytes(16 * 2**20))], "w")
    assert [len(data) for _, data in read_pictures(path, Stems({"boxer_1"}))] == [16 * 2**20]


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
    assert [stem for stem, _ in read_pictures(path, Stems({"boxer_1"}))] == ["boxer_1"]
