"""The embedded pets: drawn cats and dogs in the layout of the two Oxford-IIIT Pet archives, for runs without a network.

A pet is a list of tapered strokes. Pose, size, place, light and what lies behind it are chance, and both species share
coat colours and patterns: ears, muzzle, build and tail tell them apart. The trimap is made from the same strokes.

The published archives' quirks are kept, at low numbers, so that five pictures per breed show all of them:
- Abyssinian_3.jpg is a GIF, boxer_3.jpg an ordinary picture: both are in no split list and have no trimap;
- Abyssinian_5.jpg is a PNG with an alpha channel, Bengal_2.jpg a greyscale, beagle_1.jpg a CMYK JPEG: all are listed;
- images/Abyssinian_100.mat and annotations/trimaps/._NAME.png are stray files.
"""

import gzip
import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

# Colour, second colour, pattern. The order gives the class ids; as in the original, only cats have a capital.
BREEDS = {
    "Abyssinian": ("#b5713f", "#8f5530", "plain"),
    "american_bulldog": ("#e9e2d6", "#a06a3c", "patches"),
    "american_pit_bull_terrier": ("#7d7670", "#4a423c", "stripes"),
    "basset_hound": ("#d9c6a5", "#7a4a2a", "spots"),
    "beagle": ("#a86a38", "#ece4d6", "patches"),
    "Bengal": ("#c4935a", "#553318", "stripes"),
    "Birman": ("#e6dac6", "#85694f", "patches"),
    "boxer": ("#b07a48", "#8d5a30", "plain"),
    "British_Shorthair": ("#7e8590", "#5d6470", "plain"),
    "chihuahua": ("#dcc39a", "#bf9f70", "plain"),
    "Egyptian_Mau": ("#b9b3a6", "#45403a", "spots"),
    "shiba_inu": ("#c98a4e", "#e8d3b0", "plain"),
}
# A pattern is smooth noise, enlarged from so many rows and columns; its greys within so much of 128 blend the colours.
PATTERNS = {"plain": (2, 2, 127), "patches": (5, 5, 15), "spots": (16, 16, 17), "stripes": (2, 18, 20)}
UNLISTED = {"Abyssinian_3", "boxer_3"}
FORMATS = {
    "Abyssinian_3": ("P", "GIF"),
    "Abyssinian_5": ("RGBA", "PNG"),
    "Bengal_2": ("L", "JPEG"),
    "beagle_1": ("CMYK", "JPEG"),
}
LIST_HEADER = """\
#Image CLASS-ID SPECIES BREED ID
#ID: 1:37 Class ids
#SPECIES: 1:Cat 2:Dog
#BREED ID: 1-25:Cat 1:12:Dog
#All images with 1st letter as captial are cat images
#images with small first letter are dog images
"""
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(58)

# The paint, a shade of the coat (1 to 255) or a colour, and the circles (x, y, radius) that the stroke runs through.
Stroke = tuple[int | str, np.ndarray | list[tuple[float, float, float]]]


def draw(folder: Path, per_breed: int = 40) -> None:
    """Write images.tar.gz and annotations.tar.gz into `folder`, which exists: the same bytes every time.

    Pictures: 12 breeds, numbers 1 to `per_breed`; 8-bit RGB JPEG but for the quirks; sides of 160 to 320 pixels, never
    square. Trimaps: 8-bit grey PNG of the picture's size; 1 pet, 2 background, 3 contour. Lists: odd numbers are test,
    even ones trainval. A picture depends on its breed and number alone: fewer per breed are the first of more.
    """
    images = {"images/": b"", "images/Abyssinian_100.mat": b"MATLAB 5.0 MAT-file"}
    annotations = {"annotations/": b"", "annotations/trimaps/": b"", "annotations/README": b"These pets are drawn.\n"}
    lists = {"list": LIST_HEADER, "trainval": "", "test": ""}
    for breed, number in itertools.product(BREEDS, range(1, per_breed + 1)):
        name = f"{breed}_{number}"
        picture, mask = _draw_picture(breed, number)
        images[f"images/{name}.jpg"] = _encode(picture, *FORMATS.get(name, ("RGB", "JPEG")))
        if name in UNLISTED:
            continue
        annotations[f"annotations/trimaps/{name}.png"] = _encode(_trimap(mask), "L", "PNG")
        if number == 1:
            annotations[f"annotations/trimaps/._{name}.png"] = APPLE_DOUBLE
        for part in ("list", "test" if number % 2 else "trainval"):
            lists[part] += f"{name} {_ids(breed)}\n"
    annotations |= {f"annotations/{part}.txt": lines.encode() for part, lines in lists.items()}
    _write_archive(folder / "images.tar.gz", images)
    _write_archive(folder / "annotations.tar.gz", annotations)


def _ids(breed: str) -> str:
    """Return class, species (1 cat, 2 dog), breed within the species."""
    breeds, is_cat = list(BREEDS), breed[0].isupper()
    kin = [other for other in breeds if other[0].isupper() == is_cat]
    return f"{breeds.index(breed) + 1} {1 if is_cat else 2} {kin.index(breed) + 1}"


def _draw_picture(breed: str, number: int) -> tuple[Image.Image, Image.Image]:
    """Draw one pet: the RGB picture and its mask (mode L, 0 or 255)."""
    rng = default_rng([*f"{breed}_{number}".encode()])
    size = tuple(2 * rng.choice(np.arange(160, 321), 2, replace=False))  # twice the final one, for smooth edges
    strokes = _place(_cat(rng) if breed[0].isupper() else _dog(rng), size, rng)
    shade = _paint(Image.new("L", size), [stroke for stroke in strokes if isinstance(stroke[0], int)])
    mask = shade.point(lambda value: 255 * (value > 0))
    coat = ImageChops.multiply(_texture(rng, size, *BREEDS[breed]), shade.convert("RGB"))
    picture = Image.composite(coat, _background(rng, size), mask)
    picture = _paint(picture, [stroke for stroke in strokes if isinstance(stroke[0], str)])
    light = rng.uniform(0.75, 1.15)
    return picture.reduce(2).point(lambda value: value * light), mask.reduce(2).point(lambda value: 255 * (value > 127))


def _cat(rng: Generator) -> list[Stroke]:
    """Draw a slim cat that faces the viewer: pointed ears, short muzzle, whiskers, a thin tail held up.

    Strokes go from the farthest to the nearest. The pet is about 1 high, x to the right, y down, its feet at 0.42.
    """
    x, y, turn = rng.uniform((-0.2, -0.24, -0.04), (-0.08, -0.16, 0.04))
    hip, body = _body(rng, head=(x, y), girth=0.1, leg=0.034)
    sway = rng.uniform(-0.12, 0.12)
    tail = [(0, 0, 0.03), (0.1, 0, 0.03), (0.16, -0.16, 0.026), (0.15 + sway, -0.42, 0.02)]
    ears, face = [], [(255, [(x + turn - 0.025, y + 0.06, 0.045), (x + turn + 0.025, y + 0.06, 0.045)])]
    for side in (-1, 1):
        ear = np.array([(x + side * 0.085, y - 0.08, 0.06), (x + side * 0.135, y - 0.24, 0.004)])
        ears += [(190, ear), ("#c98d86", ear * (1, 1, 0.5) + (0, 0.02, 0))]
        eye = (x + turn + side * 0.06, y - 0.02)
        face += [("#b9c24a", [(*eye, 0.026)]), ("#111111", [(*eye, 0.012)])]
        for droop in (0.03, 0.06, 0.09):
            face += [("#f4f4f4", [(x + turn + side * 0.04, y + 0.06, 0.003), (x + side * 0.21, y + droop, 0.003)])]
    face += [("#b5605f", [(x + turn, y + 0.035, 0.014)])]
    return [(180, np.add(tail, (*hip, 0))), *body, *ears, (240, [(x - 0.03, y, 0.13), (x + 0.03, y, 0.13)]), *face]


def _dog(rng: Generator) -> list[Stroke]:
    """Draw a stocky dog that looks aside: hanging ear, long muzzle, a short tapering tail. Strokes as for the cat."""
    x, y, lift = rng.uniform((-0.22, -0.24, -0.28), (-0.1, -0.16, 0.05))
    hip, body = _body(rng, head=(x, y), girth=0.14, leg=0.048)
    tail = [(0.05, 0, 0.045), (0.14, lift / 3, 0.035), (0.25, lift, 0.012)]
    snout = np.array([x - 0.2, y + rng.uniform(0.02, 0.1)])
    ear = [(x + 0.04, y - 0.07, 0.045), (x + 0.08, y + 0.02, 0.055), (x + rng.uniform(0.04, 0.1), y + 0.16, 0.045)]
    head = [(240, [(x, y, 0.12), (x + 0.02, y, 0.12)]), (255, [(x - 0.04, y + 0.03, 0.08), (*snout, 0.055)])]
    face = [("#1c1614", [(*snout - (0.035, 0.025), 0.03)]), ("#1c1614", [(x - 0.06, y - 0.04, 0.02)])]
    face += [("#3a2420", [(*snout - (0.02, -0.03), 0.005), (x - 0.08, y + 0.085, 0.005)])]
    return [(180, np.add(tail, (*hip, 0))), *body, *head, (150, ear), *face]


def _body(rng: Generator, head: tuple[float, float], girth: float, leg: float) -> tuple[np.ndarray, list[Stroke]]:
    """Return where the tail starts, and trunk, neck and legs: anything between standing and sitting."""
    slope = rng.uniform(0, 0.9)
    shoulder = np.array([-0.1, 0.03])
    hip = shoulder + rng.uniform(0.26, 0.36) * np.array([np.cos(slope), np.sin(slope)])
    legs = []
    for shade, shift in ((150, 0.06), (215, -0.03)):
        for x, y in ((hip[0] + 0.02, hip[1]), shoulder):
            foot = x + shift + rng.uniform(-0.04, 0.04)
            legs += [(shade, [(x + shift / 2, y, leg * 1.6), (foot, 0.4, leg), (foot - 0.03, 0.42, leg)])]
    trunk, neck = [(*shoulder, girth), (*hip, girth * 1.05)], [(*shoulder, girth * 0.9), (*head, girth * 0.7)]
    return hip, [*legs[:2], (215, trunk), (215, neck), *legs[2:]]


def _place(strokes: list[Stroke], size: tuple[int, int], rng: Generator) -> list[Stroke]:
    """Return the strokes in pixels of a picture of that size: scaled, flipped, turned and moved by chance."""
    scale, angle = rng.uniform((0.85, -0.25), (1.45, 0.25)) * (min(size), 1)
    to_pixels = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * scale
    to_pixels[0] *= rng.choice([-1, 1])
    centre = np.array(size) * rng.uniform(0.42, 0.58, 2)
    placed = [(paint, np.asarray(circles)) for paint, circles in strokes]
    return [(paint, np.column_stack([c[:, :2] @ to_pixels + centre, c[:, 2] * scale])) for paint, c in placed]


def _paint(canvas: Image.Image, strokes: list[Stroke]) -> Image.Image:
    pen = ImageDraw.Draw(canvas)
    for paint, circles in strokes:
        steps = np.linspace(0, len(circles) - 1, 36)
        x, y, radius = (np.interp(steps, range(len(circles)), column) for column in circles.T)
        for box in np.column_stack([x - radius, y - radius, x + radius, y + radius]).tolist():
            pen.ellipse(box, fill=paint)
    return canvas


def _texture(rng: Generator, size: tuple[int, int], colour: str, other: str, pattern: str) -> Image.Image:
    rows, columns, blend = PATTERNS[pattern]
    noise = Image.fromarray(rng.integers(0, 256, (rows, columns), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return ImageOps.colorize(noise, colour, other, blackpoint=128 - blend, whitepoint=128 + blend)


def _background(rng: Generator, size: tuple[int, int]) -> Image.Image:
    """Draw a texture with up to four things lying about."""
    colours = [f"hsl({rng.integers(70, 330)}, {rng.integers(15, 70)}%, {rng.integers(20, 90)}%)" for _ in range(6)]
    background = _texture(rng, size, *colours[:2], rng.choice(list(PATTERNS)))
    pen = ImageDraw.Draw(background)
    for colour in colours[2 : 2 + rng.integers(0, 5)]:
        corner, extent = rng.uniform(-0.2, 1, 2) * size, rng.uniform(0.1, 0.4, 2) * size
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape([*corner, *(corner + extent)], fill=colour)
    return background


def _trimap(mask: Image.Image) -> Image.Image:
    """Make three pixels to either side of the outline contour: a tenth of a picture, as in the real trimaps."""
    near = np.asarray(mask.filter(ImageFilter.BoxBlur(3)))  # an erosion and a dilation in one, and far quicker
    return Image.fromarray(np.select([near == 255, near == 0], [1, 2], 3).astype(np.uint8))


def _encode(picture: Image.Image, mode: str, file_format: str) -> bytes:
    file = io.BytesIO()
    picture.convert(mode).save(file, file_format)
    return file.getvalue()


def _write_archive(path: Path, members: dict[str, bytes]) -> None:
    """Write a .tar.gz that tells nothing of when, where and by whom: no name or time in it."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(tar.getvalue(), mtime=0))
