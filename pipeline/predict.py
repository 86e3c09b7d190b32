"""What the two checkpoints say about pictures of any size, by the code that prepares and evaluates the test split.

    python -m pipeline.predict PICTURE... [--out DIR]

Reads   data/models/segmenter.keras, data/models/classifier.keras, the pictures (JPEG, PNG, GIF, BMP)
Prints  a line per picture: cat or dog with its probability, the share of each class of the mask
Writes  DIR/NAME-overlay.png   with --out: the picture at its own size, foreground and contour tinted
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from pipeline.checkpoint import load_checkpoint
from pipeline.figures import overlay
from pipeline.pictures import FORMATS, MAX_FILE_BYTES, Unreadable, decode, size_of, square
from pipeline.stage import CLASSES, MODELS, SPECIES, TASKS, InputError, program, writing

DOG_FROM = 0.5  # a picture is called a dog from this probability on


def predict_masks(segmenter: keras.Model, images: np.ndarray) -> np.ndarray:
    """uint8 (pictures, size, size, 3) -> the likeliest class of each pixel, uint8 (pictures, size, size)."""
    return np.argmax(segmenter.predict_on_batch(images), axis=-1).astype(np.uint8)


def dog_probabilities(classifier: keras.Model, images: np.ndarray) -> np.ndarray:
    """uint8 (pictures, size, size, 3) -> float32 (pictures,), 0 to 1."""
    return classifier.predict_on_batch(images)[:, 0]


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Within: a file that is no readable picture is an InputError with this name."""
    try:
        yield
    except Unreadable as error:
        raise InputError(f"{name}: not a readable picture: {error}; allowed: {', '.join(FORMATS)}") from None


def segment(segmenter: keras.Model, picture: bytes) -> np.ndarray:
    """The class of each pixel of a picture's file at its own size: uint8 (height, width).

    Raises Unreadable.
    """
    (mask,) = predict_masks(segmenter, square(picture, segmenter.input_shape[1])[None])
    return np.asarray(Image.fromarray(mask).resize(size_of(picture), Image.Resampling.NEAREST))


def areas(mask: np.ndarray) -> dict[str, float]:
    """The share of each class in a mask of classes, by name; together 1."""
    return {name: float((mask == k).mean()) for k, name in enumerate(CLASSES)}


def classify(classifier: keras.Model, picture: bytes) -> tuple[str, float]:
    """What a picture's file shows, "cat" or "dog", and the probability of that, 0.5 to 1.

    Raises Unreadable.
    """
    (dog,) = dog_probabilities(classifier, square(picture, classifier.input_shape[1])[None]).tolist()
    return (SPECIES[1], dog) if dog >= DOG_FROM else (SPECIES[0], 1 - dog)


def overlay_names(pictures: Sequence[Path]) -> list[str]:
    """STEM-overlay.png for each picture, numbered from the second of a stem on."""
    seen: Counter[str] = Counter()
    names = []
    for stem in (path.stem for path in pictures):
        seen[stem.casefold()] += 1  # on some file systems Cat.png and cat.png are one file
        number = seen[stem.casefold()]
        names.append(f"{stem}-overlay.png" if number == 1 else f"{stem}-overlay-{number}.png")
    return names


def overlay_paths(pictures: Sequence[Path], out: Path) -> list[Path]:
    """Where the overlay of each picture goes. Raises InputError for one that would take the place of a picture."""
    paths, given = [out / name for name in overlay_names(pictures)], {path.resolve() for path in pictures}
    for path in paths:
        if path.resolve() in given:
            raise InputError(f"{path}: a picture, and the place of an overlay; name another folder than --out {out}")
    return paths


def read_picture(path: Path) -> bytes:
    """Raises InputError for a file that is missing or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes; allowed: that many")
    return data


def predict(pictures: Sequence[Path], out: Path | None) -> bool:
    """Print a line for each picture and write its overlay to the folder `out`, if there is one.

    Returns whether all pictures could be read; those that could not get a line on stderr.
    Raises InputError for a missing or broken checkpoint, or an overlay that would take the place of a picture.
    """
    targets = overlay_paths(pictures, out) if out else [None] * len(pictures)
    segmenter, classifier = (load_checkpoint(MODELS / f"{task}.keras") for task in TASKS)
    all_read = True
    for path, target in zip(pictures, targets, strict=True):
        try:
            picture = read_picture(path)
            with reading(str(path)):
                (species, probability), mask = classify(classifier, picture), segment(segmenter, picture)
        except InputError as error:
            print(f"predict: {error}", file=sys.stderr)
            all_read = False
            continue
        shares = ", ".join(f"{label} {100 * share:.1f} %" for label, share in areas(mask).items())
        written = ""
        if target:
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                overlay(decode(picture), mask).save(target)
            written = f"; {target}"
        print(f"{path}: {species} {probability:.3f}; {shares}{written}", flush=True)
    return all_read


def main() -> None:
    """Exit 0 if all is predicted, 1 with a line on stderr for each thing that was wrong, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder for NAME-overlay.png of each picture")
    arguments = parser.parse_args()
    with program("predict"):
        sys.exit(0 if predict(arguments.pictures, arguments.out) else 1)


if __name__ == "__main__":
    main()
