"""Cases by kind, as hypothesis strategies: the test suite draws some of each, `python -m benchmarks.fuzz` thousands."""

import gzip
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.petsbuilder import encode
from tests.hostile.case import ANNOTATIONS, FILES, IMAGES, OUTSIDE, TEST, TRAINVAL, Case, case, listing
from tests.hostile.files import FIELDS, PICTURES, declaring, entry, gzipped_zeros, patched, record, size_field, tiny

A_STEM = TEST[0]
A_PICTURE, A_TRIMAP = f"images/{A_STEM}.jpg", f"annotations/trimaps/{A_STEM}.png"
LISTS = ["annotations/trainval.txt", "annotations/test.txt"]
GOOD = case({})
GZIPPED = Case(gzip.compress(GOOD.annotations), gzip.compress(GOOD.images))
NUMBERS = st.sampled_from([-1, 0, 1, 511, 512, 2**20, 2**33, 2**62, 2**87, -(2**62)]) | st.integers(-600, 5000)


def cut(data: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, len(data) - 1).map(lambda length: data[:length])


def flipped(data: bytes) -> st.SearchStrategy[bytes]:
    """Up to eight bytes changed."""

    def change(flips: dict[int, int]) -> bytes:
        return bytes(byte ^ flips.get(place, 0) for place, byte in enumerate(data))

    return st.dictionaries(st.integers(0, len(data) - 1), st.integers(1, 255), min_size=1, max_size=8).map(change)


def either(damaged: Callable[[bytes], st.SearchStrategy[bytes]], whole: Case) -> st.SearchStrategy[Case]:
    """One of the two archives damaged."""
    annotations = damaged(whole.annotations).map(lambda data: Case(data, whole.images))
    return annotations | damaged(whole.images).map(lambda data: Case(whole.annotations, data))


def replaced(name: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Case]:
    """One file of the good archives replaced."""
    return contents.map(lambda data: case({name: data}))


def among(members: st.SearchStrategy[bytes]) -> st.SearchStrategy[Case]:
    """Up to three raw members behind the files of one of the archives, and a file that nobody needs behind those."""

    def put(archive: str, drawn: list[bytes]) -> Case:
        return case({}, **{archive: [*drawn, entry("README", b"text")]})

    return st.builds(put, st.sampled_from(["annotations", "images"]), st.lists(members, min_size=1, max_size=3))


HEADER_TYPES = [b"0", b"1", b"2", b"5", b"x", b"g", b"X", b"L", b"K", b"S", b"V", b"M", b"N", b"D", b"Z", b"\0"]
KEYS = ["path", "size", "linkpath", "hdrcharset", "mtime", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major"]
KEYS += ["GNU.sparse.minor", "GNU.sparse.realsize", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.name"]
keys, types = st.sampled_from(KEYS), st.sampled_from(HEADER_TYPES)
values = NUMBERS.map(lambda value: b"%d" % value) | st.sampled_from([b"BINARY", b"0,1,2", b"../a_1.jpg", b"\xff"])
wrong_records = st.builds(lambda length, rest: b"%d" % length + rest[1:], NUMBERS, st.builds(record, keys, values))
records = st.lists(st.builds(record, keys, values) | wrong_records, max_size=6).map(b"".join)


@st.composite
def mutated_headers(draw: st.DrawFn) -> bytes:
    """One to three fields with numbers of any size or with anything."""
    name = draw(st.sampled_from(sorted(FILES)))
    member = entry(name, FILES[name])
    for field in draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=3)):
        anything = NUMBERS.map(size_field) | st.binary(max_size=FIELDS[field][1])
        member = patched(member, field, draw(types if field == "type" else anything))
    return member


@st.composite
def extended_headers(draw: st.DrawFn) -> bytes:
    """Long names, PAX records and sparse maps, right and wrong."""
    member = entry("header", draw(records | st.binary(max_size=600)), type=draw(types))
    return draw(st.just(member) | NUMBERS.map(lambda size: patched(member, "size", size_field(size))))


NAMES = [*FILES, "../../escaped_1.jpg", str(OUTSIDE), "images/../../../escaped_1.jpg", "images//Abyssinian_1.jpg"]
NAMES += ["", "/", ".", "annotations/trimaps/.png", "annotations/trainval.txt/", "images/._Abyssinian_1.jpg"]
NAMES += ["images/\udcff\udcfe_1.jpg", *(f"annotations/trimaps/{odd}_1.png" for odd in ("\udcff", "a\nb", "\x1b[31m"))]
odd_members = st.builds(
    lambda name, kind, link: entry(name, b"text" if kind in b"0\0" else b"", type=kind, linkname=link),
    st.sampled_from(NAMES),
    st.sampled_from([b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6"]),
    st.sampled_from(["", "/etc/passwd", "../../../etc", A_PICTURE, "\udcff"]),
)

WORDS = [
    "Abyssinian_1",
    "american_bulldog_2",
    "Bär_1",
    "nan_1",
    "1_1",
    "_1",
    "NAME",
    "1",
    "2",
    "3",
    "-1",
    "",
    "\t",
    "\0",
]
WORDS += ["#", ",", '"', "\ufeff", "x" * 3000 + "_1", "9" * 5000, "\u2028", "\x0c", "\u0661"]
words = st.sampled_from(WORDS) | st.text(max_size=5)
lines = st.lists(words, max_size=6).map(" ".join) | st.sampled_from(listing(TRAINVAL).decode().splitlines())
lists_of_anything = st.builds(
    lambda lines, end, encoding: end.join(lines).encode(encoding, "replace"),
    st.lists(lines, max_size=8),
    st.sampled_from(["\n", "\r\n", "\r", "\0", "\n\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)


def without(stems: set[str], twice: list[str], mark: bytes, end: bytes) -> Case:
    """The good lists without some pictures, with some twice, as another editor would save them."""
    left = ([*twice, *(stem for stem in part if stem not in stems)] for part in (TRAINVAL, TEST))
    return case({name: mark + listing(part).replace(b"\n", end) for name, part in zip(LISTS, left, strict=True)})


ALL = {*TRAINVAL, *TEST}
few = st.sets(st.sampled_from(sorted(ALL)), max_size=3)
most = st.sampled_from([ALL, ALL - {TEST[0]}, set(TRAINVAL), set(TEST), {stem for stem in ALL if stem[0] == "A"}])
lists_of_some = st.builds(
    without,
    few | most,
    st.just([]) | st.lists(st.sampled_from(TEST), max_size=1),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.sampled_from([b"\n", b"\r\n"]),
)
left_out = st.sets(st.sampled_from(sorted(FILES))) | st.sampled_from([set(ANNOTATIONS), set(IMAGES), set(FILES)])


@st.composite
def masks(draw: st.DrawFn) -> bytes:
    height, width = draw(st.just((3, 4)) | st.tuples(st.integers(1, 5), st.integers(1, 5)))
    values = st.integers(1, 3) | st.sampled_from([0, 4, 255, 65_535])
    rows = np.array([[draw(values) for _ in range(width)] for _ in range(height)], np.uint16)
    mode = draw(st.sampled_from(["L", "1", "P", "RGB", "RGBA", "LA", "I;16"]))
    return encode(Image.fromarray(rows) if mode == "I;16" else Image.fromarray(rows.astype(np.uint8)).convert(mode))


SIDES = st.sampled_from([0, 1, 3, 4, 4999, 5000, 50_000, 65_535, 65_536, 2**31 - 1])
pictures = st.sampled_from(PICTURES).map(lambda kind: tiny(*kind))
bombs = st.builds(declaring, st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]), SIDES, SIDES)

zeros = st.integers(0, 150).map(gzipped_zeros)
gzip_bombs = st.one_of(
    zeros.map(lambda bomb: Case(bomb, GOOD.images)),
    zeros.map(lambda bomb: Case(GZIPPED.annotations, GZIPPED.images + bomb)),
    zeros.map(lambda bomb: Case(gzip.compress(entry("header", type=b"x", size=2**24)) + bomb, GOOD.images)),
    zeros.map(lambda bomb: case({A_PICTURE: bomb})),
    st.integers(0, 20_000).map(lambda count: Case(gzip.compress(b"") * count + GZIPPED.annotations, GZIPPED.images)),
)

KINDS: dict[str, st.SearchStrategy[Case]] = {
    "cut short, plain": either(cut, GOOD),
    "cut short, gzipped": either(cut, GZIPPED),
    "bytes changed in the gzip": either(flipped, GZIPPED),
    "bytes changed in the tar": either(flipped, GOOD),
    "header fields, checksum right": among(mutated_headers()),
    "extended headers": among(extended_headers()),
    "names, links, devices, duplicates": among(odd_members),
    "gzip bombs": gzip_bombs,
    "files left out": left_out.map(lambda names: case(dict.fromkeys(names))),
    "lists with bytes changed": replaced(LISTS[0], flipped(FILES[LISTS[0]])),
    "lists of anything": st.sampled_from(LISTS).flatmap(lambda name: replaced(name, lists_of_anything)),
    "lists of some pictures": lists_of_some,
    "pictures cut short": replaced(A_PICTURE, pictures.flatmap(cut)),
    "pictures with bytes changed": replaced(A_PICTURE, pictures.flatmap(flipped)),
    "pictures that declare any size": replaced(A_PICTURE, bombs),
    "masks with bytes changed": replaced(A_TRIMAP, flipped(FILES[A_TRIMAP])),
    "masks of other values, sizes, modes": replaced(A_TRIMAP, masks() | pictures),
}
