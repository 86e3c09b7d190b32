"""What the checkpoints say about pictures of any size, by the code that prepares and evaluates the test split.

    python -m pipeline.predict PICTURE... [--out DIR]

Reads   data/models/segmenter.keras, data/models/classifier.keras, the pictures (JPEG, PNG, GIF, BMP)
Prints  a line per picture: cat or dog with its probability; the share of each class of the mask
Writes  DIR/NAME-overlay.png   with --out: the picture at its own size, foreground and contour tinted
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
from joblib import cpu_count

from pipeline.data.pictures import FORMATS, MAX_FILE_BYTES, decode, readable, size_of, square
from pipeline.errors import InputError, writing
from pipeline.evaluation.figures import overlay
from pipeline.paths import MODELS
from pipeline.stage import program
from pipeline.tasks import TASKS
from pipeline.training.checkpoint import load_checkpoint

BATCH = 16  # files read, and predicted, at once


def overlay_paths(pictures: Sequence[Path], out: Path) -> list[Path]:
    """Return STEM-overlay.png for each picture, numbered from the second of a stem on.

    Raises InputError for one that would take the place of a picture.
    """
    seen: Counter[str] = Counter()
    paths, given = [], {path.resolve() for path in pictures}
    for stem in (path.stem for path in pictures):
        seen[stem.casefold()] += 1  # on some file systems Cat.png and cat.png are one file
        number = seen[stem.casefold()]
        path = out / (f"{stem}-overlay.png" if number == 1 else f"{stem}-overlay-{number}.png")
        if path.resolve() in given:
            raise InputError(f"{path}: a picture, and the place of an overlay; name another folder than --out {out}")
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Opened:
    """A readable picture: its file, its width and height, what the model of each task takes."""

    path: Path
    file: bytes
    size: tuple[int, int]
    inputs: dict[str, np.ndarray]


def open_picture(path: Path, models: dict[str, keras.Model]) -> Opened | InputError:
    """Read a picture; return an InputError for a file that is missing, too large or no picture."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes; allowed: that many")
        with readable(str(path)):
            inputs = {task: square(data, model.input_shape[1]) for task, model in models.items()}
            return Opened(path, data, size_of(data), inputs)
    except OSError as error:
        return InputError(f"{path}: {error.strerror}")
    except InputError as error:
        return error


def lines(pictures: Sequence[Opened], targets: Sequence[Path | None], models: dict[str, keras.Model]) -> Iterator[str]:
    """Yield what is printed of each picture; write its overlay to its target, if it has one."""
    tasks = {task: import_module(f"pipeline.evaluation.{task}") for task in models}
    sizes = [picture.size for picture in pictures]
    answers = [
        tasks[task].answer(model, np.stack([picture.inputs[task] for picture in pictures]), sizes)
        for task, model in models.items()
    ]
    for picture, target, *found in zip(pictures, targets, *answers, strict=True):
        words = [module.in_words(answer) for module, answer in zip(tasks.values(), found, strict=True)]
        if target:
            (mask,) = [answer["mask"] for answer in found if "mask" in answer]
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                overlay(decode(picture.file), mask).save(target)
        yield f"{picture.path}: {'; '.join([*words, *([str(target)] if target else [])])}"


def answers(
    paths: Sequence[Path], targets: Sequence[Path | None], models: dict[str, keras.Model]
) -> Iterator[str | InputError]:
    """Yield the line of each readable picture, an InputError for each other, in their order."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(paths), BATCH):
            part = slice(start, start + BATCH)
            found = list(pool.map(partial(open_picture, models=models), paths[part]))
            whole = [pair for pair in zip(found, targets[part], strict=True) if isinstance(pair[0], Opened)]
            said = lines(*zip(*whole, strict=True), models) if whole else iter(())
            yield from (item if isinstance(item, InputError) else next(said) for item in found)


def predict(pictures: Sequence[Path], out: Path | None) -> bool:
    """Print a line for each picture and write its overlay to the folder `out`, if there is one.

    Returns whether all pictures could be read; those that could not get a line on stderr.
    Raises InputError for a missing or broken checkpoint, or an overlay that would take the place of a picture.
    """
    targets = overlay_paths(pictures, out) if out else [None] * len(pictures)
    models = {task: load_checkpoint(MODELS / f"{task}.keras") for task in reversed(TASKS)}  # the species goes first
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
    given = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    with program("predict"):
        sys.exit(0 if predict(given.pictures, given.out) else 1)


if __name__ == "__main__":
    main()
