"""What all stages share: where they read and write, and one clear line for whatever is wrong with their input."""

import argparse
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

TASKS = ("segmenter", "classifier")
SPECIES = ("cat", "dog")  # the classifier's labels 0 and 1: its output is the probability of a dog
CLASSES = ("foreground", "background", "contour")  # the segmenter's classes 0, 1, 2
RAW = Path("data/raw")  # the two archives
PREPARED = Path("data/prepared")  # a folder per task: samples.csv and packed arrays
MODELS = Path("data/models")  # TASK.keras, the best checkpoint
HISTORY = Path("data/history")  # TASK.csv, a row per epoch
METRICS = Path("data/metrics")  # JSON for `dvc metrics`
PLOTS = Path("data/plots")  # CSV for `dvc plots`, and PNG


class InputError(Exception):
    """Bad input. The message is one line: the file or the key, what was found, what is allowed or how to go on."""


def root() -> Path:
    """The repository's root: where state that outlives a stage lies.

    DVC sets DVC_ROOT. Under `dvc exp run --temp` it names the repository, not the temporary folder the stage runs in.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def task_argument() -> str:
    """The task named on the command line; otherwise usage on stderr and exit 2."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    return parser.parse_args().task


@contextmanager
def program(name: str) -> Iterator[None]:
    """Within: bad input ends the program with one line on stderr and exit 1, Ctrl-C or SIGTERM with exit 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both unwind the same way
    try:
        yield
    except InputError as error:
        sys.exit(f"{name}: {error}")
    except Timeout:
        sys.exit(f"{name}: another {name} is at work on the same; let it finish, then run again")
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        sys.exit(f"{name}: {reason}: {error.filename or Path.cwd()}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def run(stage: Callable[..., None], *arguments: str) -> None:
    """Run a stage as a program.

    One process at a time works at a stage in a folder: a kill of dvc alone leaves the stage at work, and the next
    `dvc repro` would start a second one on the same outputs.
    """
    name = "_".join([stage.__name__, *arguments])
    with program(name):
        METRICS.parent.mkdir(exist_ok=True)
        with FileLock(METRICS.parent / f".{name}.lock", blocking=False):
            stage(*arguments)


def content_md5(path: Path) -> str:
    """The md5 by which dvc.lock names a file, or a folder without folders in it (there it ends in `.dir`)."""
    if path.is_dir():
        entries = [{"md5": content_md5(file), "relpath": file.name} for file in sorted(path.iterdir())]
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def write_metrics(name: str, values: dict[str, Any]) -> None:
    """Write data/metrics/NAME.json, numbers with all their digits."""
    METRICS.mkdir(parents=True, exist_ok=True)
    (METRICS / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")
