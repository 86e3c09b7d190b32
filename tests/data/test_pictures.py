"""One picture and its trimap: decoding by content, what is unreadable, classes, resizing."""

import io
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.pictures import MAX_FILE_BYTES, MAX_PIXELS, MAX_SCANS, Unreadable, decode, prepare, square
from tests.data.oddpictures import declaring, jpeg_of_scans, jpeg_of_segments, tiny
from tests.helpers.petsbuilder import encode, trimap

SIZE = 16  # pixels
ORANGE = (240, 120, 0)
TURNED = Image.Exif()
TURNED[274] = 6  # orientation: a quarter to the right


def solid(mode: str, colour, size=(8, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


def as_mpo(jpeg: bytes) -> bytes:
    """The JPEG with the segment that makes it the first of two pictures in one file."""
    file = io.BytesIO()
    noise(8, 8).save(file, "MPO", save_all=True, append_images=[noise(8, 8)])
    start = file.getvalue().index(b"MPF\0") - 4
    length = int.from_bytes(file.getvalue()[start + 2 : start + 4])
    return jpeg[:2] + file.getvalue()[start : start + 2 + length] + jpeg[2:]


def unreadable(picture: bytes, mask: bytes | None = None) -> str:
    with pytest.raises(Unreadable) as caught:
        prepare(picture, mask, SIZE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("picture", "file_format", "colour"),
    [
        (solid("RGB", ORANGE), "BMP", ORANGE),
        (solid("RGBA", (*ORANGE, 10)), "PNG", ORANGE),
        (solid("RGB", ORANGE).convert("P", palette=Image.Palette.ADAPTIVE), "GIF", ORANGE),
        (solid("LA", (77, 10)), "PNG", (77, 77, 77)),
        (solid("CMYK", (0, 255, 255, 0)), "JPEG", (255, 0, 0)),  # magenta and yellow make red
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_kind_of_picture_becomes_rgb_by_its_content(picture, file_format, colour):
    sample = prepare(encode(picture, file_format), None, SIZE)
    assert (sample.image.dtype, sample.image.shape, sample.mask) == (np.uint8, (16, 16, 3), None)
    assert np.abs(sample.image.astype(int) - colour).max() <= 3  # JPEG is not exact


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode(solid("RGB", ORANGE), "TIFF"), "cannot identify image file"),
        (encode(noise(64, 64), "JPEG")[:-200], "image file is truncated"),
        (encode(noise(64, 64), "JPEG")[:2000] + encode(noise(64, 64), "JPEG"), "broken data stream when reading .*"),
    ],
    ids=["unknown format", "JPEG cut", "JPEG in a JPEG"],
)
def test_an_unreadable_picture_has_the_same_reason_every_time(data, reason):
    assert re.fullmatch(rf"{reason}( \(\d+ bytes not processed\))?", unreadable(data))  # no memory address


@pytest.mark.filterwarnings("error")  # Pillow warns from 90 million pixels on and speaks of an attack from 179 million
@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_picture_that_declares_too_many_pixels_is_rejected_by_its_header(file_format):
    # Had its pixels been read, the reason would be that they are truncated.
    allowed = "allowed: 25,000,000, and 65,535 on a side"
    assert unreadable(declaring(file_format, 12_500, 2_001)) == f"declares 12500 x 2001 pixels; {allowed}"
    assert unreadable(declaring(file_format, 50_000, 50_000)) == f"declares 50000 x 50000 pixels; {allowed}"
    assert unreadable(declaring("PNG", 65_536, 1)) == f"declares 65536 x 1 pixels; {allowed}"
    assert "truncated" in unreadable(declaring("PNG", 12_500, 2_000)), "this many are read"


@pytest.mark.parametrize("marked", [bytes, as_mpo], ids=["JPEG", "MPO"])
def test_a_progressive_jpeg_is_rejected_when_its_scans_go_over_too_many_pixels(marked):
    # Pillow writes six scans of a grey picture.
    says = "declares 5000 x 5000 pixels in 106 scans; allowed: 100 scans of that size"
    assert unreadable(marked(jpeg_of_scans(100, "L", (5000, 5000)))) == says
    assert prepare(marked(jpeg_of_scans(100, "L", (500, 500))), None, SIZE)


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Cut short, or with up to eight bytes changed."""
    flips = st.dictionaries(st.integers(0, len(data) - 1), st.integers(1, 255), min_size=1, max_size=8)
    changed = flips.map(lambda found: bytes(byte ^ found.get(place, 0) for place, byte in enumerate(data)))
    return changed | st.integers(0, len(data) - 1).map(lambda length: data[:length])


KINDS = [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "GIF"), ("RGB", "BMP"), ("P", "BMP"), ("1", "BMP")]
KINDS += [(mode, "PNG") for mode in ("RGB", "RGBA", "P", "1", "LA", "I;16")]
MASK = trimap([[1, 2, 3, 1]] * 3)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(st.sampled_from(KINDS).flatmap(lambda kind: damaged(tiny(*kind))), damaged(MASK) | st.just(MASK))
def test_whatever_is_in_a_file_it_ends_as_a_sample_or_one_line(picture, mask):
    try:
        line, classes = "", prepare(picture, mask, SIZE).mask
    except Unreadable as error:
        line, classes = str(error), np.zeros(1)
    assert line.isprintable()
    assert classes.max() <= 2


SIDE = int(MAX_PIXELS**0.5)
LIMITS = {
    "progressive JPEG": lambda: jpeg_of_scans(MAX_SCANS - 20, "RGB", (SIDE, SIDE)),
    "JPEG of empty segments": lambda: jpeg_of_segments(MAX_FILE_BYTES, jpeg_of_scans(0, "CMYK", (SIDE, SIDE))),
}
WORK = """
import sys
from benchmarks.measure import peak_memory
from pipeline.data.pictures import prepare
idle, files = peak_memory(), [open(path, "rb").read() for path in sys.argv[1:]]
prepare(*files, 180)
print(peak_memory() - idle)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS)
def test_the_worst_that_is_allowed_takes_less_than_1_gib_and_some_seconds(tmp_path, limit):
    (tmp_path / "picture").write_bytes(LIMITS[limit]())
    (tmp_path / "mask").write_bytes(encode(Image.fromarray(np.ones((SIDE, SIDE), np.uint16))))
    started = time.monotonic()
    command = [sys.executable, "-c", WORK, tmp_path / "picture", tmp_path / "mask"]
    mebibytes = float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert (mebibytes < 1024, time.monotonic() - started < 60) == (True, True), mebibytes


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (trimap([[1, 2], [3, 0]]), r"values \[0, 1, 2, 3\]; allowed: 1, 2, 3"),
        (trimap([[1, 2], [3, 255]]), r"values \[1, 2, 3, 255\]; allowed: 1, 2, 3"),
        (declaring("PNG", 3000, 3000), "3000 x 3000 pixels, its picture 2 x 2 pixels"),  # before its pixels are read
        (trimap([[1, 2], [3, 1]])[:-24], ".*truncated.*"),
        (encode(solid("RGBA", (1, 2, 3, 255), (2, 2))), "mode RGBA; allowed: one channel"),
    ],
    ids=["value 0", "value 255", "other size", "cut", "RGBA"],
)
def test_a_trimap_that_is_none_or_not_its_pictures_is_unreadable(mask, reason):
    assert re.fullmatch(f"trimap: {reason}", unreadable(encode(solid("RGB", ORANGE, (2, 2))), mask))


@pytest.mark.parametrize("size", [(5, 500), (500, 5), (4, 4), (31, 33), (SIZE, SIZE)])
def test_a_picture_of_any_shape_is_resized_as_pillow_does_it(size):
    smooth = noise(3, 3).resize(size, Image.Resampling.BICUBIC)
    expected = np.asarray(smooth.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(square(encode(smooth, "PNG"), SIZE) - expected).mean()
    assert difference <= (0 if size == (SIZE, SIZE) else 4)  # of 255


@pytest.mark.parametrize("width", [35, 63, 703])
def test_stripes_too_fine_for_the_size_become_grey_in_the_picture_and_stay_two_classes_in_the_mask(width):
    stripes = np.zeros((SIZE, width), np.uint8)
    stripes[:, ::2] = 1
    sample = prepare(encode(Image.fromarray(255 * stripes)), trimap((1 + 2 * stripes).tolist()), SIZE)
    # A column is the mean of at least two pixels and parts: of an odd number n, (n + 1) / 2 of them may be white.
    assert np.abs(sample.image - 127.5).max() <= 127.5 / (width / SIZE) + 1
    assert set(np.unique(sample.mask)) <= {0, 2}


def test_picture_and_mask_keep_their_corners_lose_their_aspect_ratio_and_values_1_2_3_become_classes_0_1_2():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:20, :40] = ORANGE  # the upper left quarter
    quarters = np.kron([[1, 2], [3, 1]], np.ones((20, 40), int))
    sample = prepare(encode(Image.fromarray(picture)), trimap(quarters.tolist()), SIZE)
    assert (sample.image[:7, :7] == ORANGE).all()
    assert (sample.image[9:] == 0).all()
    assert (sample.image[:, 9:] == 0).all()
    assert sample.mask.dtype == np.uint8
    np.testing.assert_array_equal(sample.mask, np.kron([[0, 1], [2, 0]], np.ones((8, 8))))


@pytest.mark.parametrize(("at_least", "size"), [(176, (200, 400)), (101, (125, 250)), (100, (100, 200))])
def test_a_jpeg_is_decoded_at_a_reduced_size_that_leaves_enough_pixels(at_least, size):
    assert decode(encode(noise(400, 200), "JPEG"), at_least).shape == (*size, 3)


@pytest.mark.parametrize("at_least", [400, 100])
@pytest.mark.parametrize(("mode", "options"), [("RGB", {}), ("L", {}), ("RGB", {"exif": TURNED}), ("CMYK", {})])
def test_a_jpeg_is_decoded_to_the_pixels_that_pillow_finds_at_that_size(mode, options, at_least):
    file = io.BytesIO()
    noise(40, 40).convert(mode).resize((400, 400), Image.Resampling.BICUBIC).save(file, "JPEG", **options)
    picture = Image.open(file)
    picture.draft(None, (at_least, at_least))
    difference = decode(file.getvalue(), at_least) - np.asarray(picture.convert("RGB"), int)
    assert np.abs(difference).max() <= (1 if mode == "CMYK" else 0)


def test_bytes_too_many_before_a_jpegs_end_change_nothing_and_print_nothing(capfd):
    whole = encode(noise(64, 64), "JPEG")
    np.testing.assert_array_equal(decode(whole[:-2] + bytes(100) + whole[-2:]), decode(whole))
    assert capfd.readouterr() == ("", "")
