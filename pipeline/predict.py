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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from joblib import cpu_count
from PIL import Image

from pipeline.data.pictures import FORMATS, MAX_FILE_BYTES, Unreadable, decode, size_of, square
from pipeline.errors import InputError, writing
from pipeline.evaluation.figures import overlay
from pipeline.paths import MODELS
from pipeline.stage import program
from pipeline.tasks import CLASSES, SPECIES, TASKS
from pipeline.training.checkpoint import load_checkpoint

BATCH = 16  # files read, and predicted, at once
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


def input_of(model: keras.Model, picture: bytes) -> np.ndarray:
    """A picture's file as a model takes it: uint8 (size, size, 3). Raises Unreadable."""
    return square(picture, model.input_shape[1])


def segment(segmenter: keras.Model, images: np.ndarray, sizes: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """The class of each pixel of pictures at their own sizes (width, height): uint8 (height, width) for each.

    images: uint8 (pictures, size, size, 3).
    """
    for mask, size in zip(predict_masks(segmenter, images), sizes, strict=True):
        yield np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def areas(mask: np.ndarray) -> dict[str, float]:
    """The share of each class in a mask of classes, by name; together 1."""
    return {name: float((mask == k).mean()) for k, name in enumerate(CLASSES)}


def classify(classifier: keras.Model, images: np.ndarray) -> list[tuple[str, float]]:
    """What pictures show, "cat" or "dog", and the probability of that, 0.5 to 1.

    images: uint8 (pictures, size, size, 3).
    """
    dogs = dog_probabilities(classifier, images).tolist()
    return [(SPECIES[1], dog) if dog >= DOG_FROM else (SPECIES[0], 1 - dog) for dog in dogs]


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


@dataclass(frozen=True)
class Opened:
    """A readable picture: its file, its width and height, what each of the models takes."""

    path: Path
    file: bytes
    size: tuple[int, int]
    inputs: list[np.ndarray]


def open_picture(path: Path, models: Sequence[keras.Model]) -> Opened | InputError:
    """An InputError for a file that is missing, too large or no picture."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes; allowed: that many")
        with reading(str(path)):
            return Opened(path, data, size_of(data), [input_of(model, data) for model in models])
    except OSError as error:
        return InputError(f"{path}: {error.strerror}")
    except InputError as error:
        return error


def lines(pictures: Sequence[Opened], targets: Sequence[Path | None], models: Sequence[keras.Model]) -> Iterator[str]:
    """What is printed of each picture; its overlay is written to its target, if it has one."""
    segmenter, classifier = models
    for_masks, for_labels = (np.stack(images) for images in zip(*(picture.inputs for picture in pictures), strict=True))
    masks = segment(segmenter, for_masks, [picture.size for picture in pictures])
    labels = classify(classifier, for_labels)
    for picture, target, mask, (species, probability) in zip(pictures, targets, masks, labels, strict=True):
        shares = ", ".join(f"{label} {100 * share:.1f} %" for label, share in areas(mask).items())
        if target:
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                overlay(decode(picture.file), mask).save(target)
        yield f"{picture.path}: {species} {probability:.3f}; {shares}{f'; {target}' if target else ''}"


def answers(
    paths: Sequence[Path], targets: Sequence[Path | None], models: Sequence[keras.Model]
) -> Iterator[str | InputError]:
    """The line of each readable picture, an InputError for each other, in their order."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(paths), BATCH):
            part = slice(start, start + BATCH)
            found = list(pool.map(partial(open_picture, models=models), paths[part]))
            readable = [pair for pair in zip(found, targets[part], strict=True) if isinstance(pair[0], Opened)]
            said = lines(*zip(*readable, strict=True), models) if readable else iter(())
            yield from (item if isinstance(item, InputError) else next(said) for item in found)


def predict(pictures: Sequence[Path], out: Path | None) -> bool:
    """Print a line for each picture and write its overlay to the folder `out`, if there is one.

    Returns whether all pictures could be read; those that could not get a line on stderr.
    Raises InputError for a missing or broken checkpoint, or an overlay that would take the place of a picture.
    """
    targets = overlay_paths(pictures, out) if out else [None] * len(pictures)
    models = [load_checkpoint(MODELS / f"{task}.keras") for task in TASKS]
    all_read = True
    for answer in answers(pictures, targets, models):
        if isinstance(answer, InputError):
            print(f"predict: {answer}", file=sys.stderr)
            all_read = False
        else:
            print(answer, flush=True)
    return all_read


def main() -> None:
    """Exit 0 if all is predicted, 1 with a line on stderr for each thing that was wrong, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder for NAME-overlay.png of each picture")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    with program("predict"):
        sys.exit(0 if predict(arguments.pictures, arguments.out) else 1)


if __name__ == "__main__":
    main()
