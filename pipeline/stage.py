"""What all stages share: where they read and write, and one clear line for whatever is wrong with their input."""

import argparse
import errno
import gc
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from threading import Thread
from typing import Any

import yaml
from filelock import FileLock, Timeout

from pipeline import STARTED_BY

TASKS = ("segmenter", "classifier")
SPECIES = ("cat", "dog")  # the classifier's labels 0 and 1: its output is the probability of a dog
CLASSES = ("foreground", "background", "contour")  # the segmenter's classes 0, 1, 2
RAW = Path("data/raw")  # the two archives
PREPARED = Path("data/prepared")  # a folder per task: samples.csv and packed arrays
MODELS = Path("data/models")  # TASK.keras, the best checkpoint
HISTORY = Path("data/history")  # TASK.csv, a row per epoch
METRICS = Path("data/metrics")  # JSON for `dvc metrics`
PLOTS = Path("data/plots")  # CSV for `dvc plots`, and PNG
PATIENCE = 150  # seconds for a stage whose dvc was killed to end: its batch, and twice a store that does not answer

WAYS_OUT = {
    errno.ENOSPC: "make room and run again, nothing is lost",
    errno.EDQUOT: "make room and run again, nothing is lost",
    errno.EACCES: "give this user access and run again",
    errno.EPERM: "give this user access and run again",
    errno.EROFS: "make it writable and run again",
}


class InputError(Exception):
    """Bad input. The message is one line: the file or the key, what was found, what is allowed or how to go on.

    It holds no credentials, whatever it was made of.
    """

    def __init__(self, line: str):
        super().__init__(without_secrets(line))


def without_secrets(line: str) -> str:
    """A line without the names and passwords of the addresses in it."""
    return re.sub(r"(?i)((?:password|passwd|token|secret|key)=)[^&\s]*", r"\1***", re.sub(r"://\S*@", "://", line))


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Within: a full disk, or a lack of permission, is an InputError that names the file, or this place.

    A write to a full disk does not say to which file it was.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in WAYS_OUT:
            raise
        raise InputError(f"{error.filename or place}: {error.strerror}; {WAYS_OUT[error.errno]}") from None


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
    if not gc.isenabled():  # see __init__.py; what the imports made stays to the end, which takes 0.1 instead of 1.6 s
        gc.freeze()
        gc.enable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both unwind the same way
    try:
        with writing(Path.cwd()):
            yield
    except InputError as error:
        sys.exit(f"{name}: {error}")
    except Timeout:
        sys.exit(f"{name}: another {name} is at work on the same; let it finish, then run again")
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        sys.exit(without_secrets(f"{name}: {reason}: {error.filename or Path.cwd()}"))
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def run(stage: Callable[..., None], *arguments: str) -> None:
    """Run a stage as a program, in one process at a time in a folder.

    A kill of dvc alone leaves its stage at work. That one notices and ends; what the next `dvc repro` starts waits for
    it, instead of working at the same outputs.
    """
    name = "_".join([stage.__name__, *arguments])
    with program(name):
        if "DVC_STAGE" in os.environ:
            Thread(target=_end_with_dvc, daemon=True).start()
        METRICS.parent.mkdir(exist_ok=True)
        lock = FileLock(METRICS.parent / f".{name}.lock", timeout=PATIENCE)
        with lock, timed(name) if "DVC_STAGE" in os.environ else nullcontext():
            stage(*arguments)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Within: a stage at work under DVC. Then note when it ended and how long it took, by what decided its outputs."""
    note, start = times_note(name), time.monotonic()
    yield
    note.parent.mkdir(parents=True, exist_ok=True)
    took = {"ended": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(time.monotonic() - start, 1)}
    draft = note.with_suffix(".draft")  # a kill leaves no half note
    draft.write_text(json.dumps(took))
    draft.replace(note)


def times_note(name: str) -> Path:
    """Where the time of a stage is noted, for what decides its outputs now.

    That is its command, parameters, code, and the outputs before it as dvc.lock names them: DVC writes there before it
    starts a stage. DVC itself keeps no times, and does not say later whether a stage ran or was restored. A file that
    is missing counts as empty: the stage itself names it.
    """
    stages, params, lock = (_yaml(Path(path)) for path in ("dvc.yaml", "params.yaml", "dvc.lock"))
    made = outputs(lock.get("stages", {}))
    stage = stages["stages"].get(name, {})  # one that was deleted has no note
    code_and_data = {path: made.get(path) or _md5_if_there(Path(path)) for path in stage.get("deps", ())}
    values = {key: reduce(getitem, key.split("."), params) for key in stage.get("params", ()) if isinstance(key, str)}
    decided = hashlib.md5(json.dumps([stage.get("cmd"), code_and_data, values]).encode()).hexdigest()
    return root() / ".training" / "times" / f"{name}-{decided}.json"


def outputs(stages: dict[str, Any]) -> dict[str, str]:
    """The md5s of what the `stages` of a dvc.lock have made, by path."""
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}


def _md5_if_there(path: Path) -> str:
    return content_md5(path) if path.exists() else ""


def _yaml(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) if path.exists() else {}


def _end_with_dvc() -> None:
    while os.getppid() == STARTED_BY:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def content_md5(path: Path) -> str:
    """The md5 by which dvc.lock names a file, or a folder without folders in it (there it ends in `.dir`)."""
    if path.is_dir():
        entries = [{"md5": content_md5(file), "relpath": file.name} for file in sorted(path.iterdir())]
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@writing(METRICS)
def write_metrics(name: str, values: dict[str, Any]) -> None:
    """Write data/metrics/NAME.json, numbers with all their digits."""
    METRICS.mkdir(parents=True, exist_ok=True)
    (METRICS / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")
