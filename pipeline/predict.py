"""What the checkpoints say about pictures of any size, by the code that prepares and evaluates the test split.

    python -m pipeline.predict PICTURE... [--out DIR]

Reads   data/models/segmenter.keras, data/models/classifier.keras, the pictures (JPEG, PNG, GIF, BMP)
Prints  a line per picture: cat or dog with its probability; the share of each class of the mask
Writes  with --out, at the size of the picture:
        DIR/NAME-overlay.png   the picture, foreground and contour tinted
        DIR/NAME-mask.png      the mask with the values of the trimaps: 1 foreground, 2 background, 3 contour
"""

import argparse
import gc
import os.path
import stat
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from pipeline.data.pictures import FORMATS, MAX_FILE_BYTES, decode, readable, size_of, square
from pipeline.errors import InputError, printable, writing
from pipeline.outputs import replacing
from pipeline.paths import checkpoint
from pipeline.stage import program
from pipeline.tasks import TASKS


def outputs(pictures: Sequence[Path], out: Path) -> dict[Path, list[Path]]:
    """Make the folder and return where the overlay and the mask of each picture are written.

    Raises InputError for one that would replace another, or a picture, linked or not.
    """

    def entry(path: Path) -> str:
        return f"{os.path.realpath(path.parent)}/{path.name}".casefold()  # Cat.png and cat.png may be one file

    targets = {path: [out / f"{path.stem}-{kind}.png" for kind in ("overlay", "mask")] for path in pictures}
    taken = {entry(place) for path in pictures for place in (path, Path(os.path.realpath(path)))}
    for path in (path for pair in targets.values() for path in pair):
        if entry(path) in taken:
            raise InputError(f"{path}: a picture or another output; use one call, and one --out, for each")
        taken.add(entry(path))
    out.mkdir(parents=True, exist_ok=True)
    return targets


def file_at(path: Path) -> Path:
    """Return the path of a file. Raises InputError for what may have no end, OSError for what is missing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path}: not a file, but a folder, pipe or device")
    return path


def answer(path: Path, targets: Sequence[Path] | None, models: dict[str, Any]) -> str:
    """Return what is printed of a picture; write its overlay and its mask, if it has targets.

    models: a keras.Model for each task. Raises InputError for a file that is too large or no picture, OSError for one
    that cannot be read or written.
    """
    with path.open("rb") as file:
        data, said, mask = file.read(MAX_FILE_BYTES + 1), [], None
    with readable(str(path)):
        for task, model in models.items():
            how = import_module(f"pipeline.answers.{task}")
            (found,) = how.answer(model, square(data, model.input_shape[1])[None], [size_of(data)])
            said.append(how.in_words(found))
            mask = found.get("mask", mask)
        if targets:
            overlay = import_module("pipeline.evaluation.figures").overlay(decode(data), mask)
            for target, drawn in zip(targets, (overlay, Image.fromarray(mask + 1)), strict=True):
                with replacing(target) as draft:
                    drawn.save(draft)
                said.append(str(target))
    return printable(f"{path}: {'; '.join(said)}")


def attempt(work: Callable[..., Any], path: Path, *arguments: Any) -> Any:
    """Return what some work on a picture gives. Where that fails, print a line and return None."""
    try:
        with writing(path):
            return work(path, *arguments)
    except InputError as error:
        tqdm.write(f"predict: {error}", sys.stderr)


def predict(pictures: Sequence[Path], out: Path | None) -> bool:
    """Print a line for each picture and write its overlay and its mask to the folder `out`, if there is one.

    Returns whether all pictures were answered; the others got a line on stderr.
    Raises InputError for a missing or broken checkpoint, or an output that would replace a picture.
    """
    checkpoints = {task: checkpoint(task) for task in reversed(TASKS)}  # the species goes first
    targets = outputs(pictures, out) if out else {}
    files, models, answered = [path for path in pictures if attempt(file_at, path)], {}, 0
    if files:
        gc.disable()  # as at a program's start (stage.py): one picture takes 2.4 instead of 4.1 s of a core
        load = import_module("pipeline.training.checkpoint").load_checkpoint  # and with it TensorFlow
        models = {task: load(path) for task, path in checkpoints.items()}
        gc.freeze()
        gc.enable()
    for path in tqdm(files, "predict", unit=" pictures", disable=None, leave=False):
        if line := attempt(answer, path, targets.get(path), models):
            tqdm.write(line)
            answered += 1
    return answered == len(pictures)


def main() -> None:
    """Exit 0 if all is predicted, 1 with a line on stderr for each thing that was wrong, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder for NAME-overlay.png and NAME-mask.png")
    given = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)  # a terminal may lack a name's letters
    with program("predict"):
        sys.exit(0 if predict(given.pictures, given.out) else 1)


if __name__ == "__main__":
    main()
