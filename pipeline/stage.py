"""How a stage runs as a program: one at a time in a folder, ended with its dvc, one line for whatever is wrong."""

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from filelock import AcquireReturnProxy, FileLock, Timeout

from pipeline.errors import InputError, refusal
from pipeline.paths import METRICS
from pipeline.start import STARTED_BY
from pipeline.tasks import TASKS

LOCK_TIMEOUT = 150  # seconds in which a stage whose dvc was killed ends: its batch, and twice a store that hangs


def task_argument() -> str:
    """Return the task named on the command line; otherwise print the usage and exit with 2."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    return parser.parse_args().task


@contextmanager
def program(name: str) -> Iterator[None]:
    """End the program with one line on stderr and exit 1 for bad input, with exit 130 for Ctrl-C or SIGTERM."""
    if not gc.isenabled():  # see start.py; what the imports made stays to the end, which takes 0.1 instead of 1.6 s
        gc.freeze()
        gc.enable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both unwind the same way
    try:
        yield
    except InputError as error:
        sys.exit(f"{name}: {error}")
    except Timeout:
        sys.exit(f"{name}: another {name} is running; wait for it, then run again")
    except OSError as error:
        sys.exit(f"{name}: {refusal(error, Path.cwd())}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def run(stage: Callable[..., None], *arguments: str) -> None:
    """Run a stage as a program, one process at a time in a folder.

    A kill of dvc alone leaves its stage at work. That stage notices and ends. What the next `dvc repro` starts waits
    for it, instead of working at the same outputs.
    """
    name = "_".join([stage.__name__, *arguments])
    with program(name):
        if "DVC_STAGE" in os.environ:
            Thread(target=_end_with_dvc, daemon=True).start()
        METRICS.parent.mkdir(exist_ok=True)
        with alone(FileLock(METRICS.parent / f".{name}.lock"), name):
            stage(*arguments)


def alone(lock: FileLock, name: str) -> AcquireReturnProxy:
    """Take a lock; if another process holds it, say so and wait. Raises Timeout after LOCK_TIMEOUT."""
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"{name}: another one is running; waiting up to {LOCK_TIMEOUT} s for it", file=sys.stderr)
        return lock.acquire(timeout=LOCK_TIMEOUT)


def _end_with_dvc() -> None:
    while os.getppid() == STARTED_BY:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
