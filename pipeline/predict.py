"""What the checkpoints say about pictures of any size, by the code that prepares and evaluates the test split.

    python -m pipeline.predict PICTURE... [--out DIR]

Reads   data/models/segmenter.keras, data/models/classifier.keras, the pictures (JPEG, PNG, GIF, BMP)
Prints  a line per picture: cat or dog with its probability; the share of each class of the mask
Writes  DIR/NAME-overlay.png   with --out: the picture at its own size, foreground and contour tinted
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import keras

from pipeline.data.pictures import FORMATS, MAX_FILE_BYTES, decode, readable, size_of, square
from pipeline.errors import InputError, writing
from pipeline.evaluation.figures import overlay
from pipeline.paths import MODELS
from pipeline.stage import program
from pipeline.tasks import TASKS
from pipeline.training.checkpoint import load_checkpoint


def overlay_paths(pictures: Sequence[Path], out: Path) -> list[Path]:
    """Return OUT/NAME-overlay.png for each picture. Raises InputError for one that would replace another or a picture.

    On some file systems Cat.png and cat.png are one file.
    """
    paths = [out / f"{picture.stem}-overlay.png" for picture in pictures]
    taken = {str(picture.resolve()).casefold() for picture in pictures}
    for path in paths:
        if (place := str(path.resolve()).casefold()) in taken:
            raise InputError(f"{path}: another picture, or the overlay of one; use one call, and one --out, for each")
        taken.add(place)
    return paths


def read_picture(path: Path) -> bytes:
    """Return a file, cut off where it is larger than any picture. Raises InputError for one that is missing."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def answer(path: Path, target: Path | None, models: dict[str, keras.Model]) -> str:
    """Return what is printed of a picture; write its overlay, if it has a target.

    Raises InputError for a file that is missing, too large or no picture.
    """
    data, said, mask = read_picture(path), [], None
    with readable(str(path)):
        for task, model in models.items():
            how = import_module(f"pipeline.answers.{task}")
            (found,) = how.answer(model, square(data, model.input_shape[1])[None], [size_of(data)])
            said.append(how.in_words(found))
            mask = found.get("mask", mask)
        if target:
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                overlay(decode(data), mask).save(target)
            said.append(str(target))
    return f"{path}: {'; '.join(said)}"


def predict(pictures: Sequence[Path], out: Path | None) -> bool:
    """Print a line for each picture and write its overlay to the folder `out`, if there is one.

    Returns whether all pictures could be read; those that could not get a line on stderr.
    Raises InputError for a missing or broken checkpoint, or an overlay that would replace a picture.
    """
    targets = overlay_paths(pictures, out) if out else [None] * len(pictures)
    models = {task: load_checkpoint(MODELS / f"{task}.keras") for task in reversed(TASKS)}  # the species goes first
    all_read = True
    for path, target in zip(pictures, targets, strict=True):
        try:
            print(answer(path, target, models), flush=True)
        except InputError as error:
            print(f"predict: {error}", file=sys.stderr)
            all_read = False
    return all_read


def main() -> None:
    """Exit 0 if all is predicted, 1 with a line on stderr for each thing that was wrong, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder for NAME-overlay.png of each picture")
    given = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    with program("predict"):
        sys.exit(0 if predict(given.pictures, given.out) else 1)


if __name__ == "__main__":
    main()
