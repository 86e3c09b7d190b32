"""The start of a program: its Python, its memory, what its imports print. An old Python can read this file, too."""

import ctypes
import gc
import os
import shutil
import sys
import warnings
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from types import SimpleNamespace

STARTED_BY = os.getppid()  # asked before the imports: they take seconds, in which it may be killed
WAY_OUT = "`make .venv/installed` installs what is needed, `source .venv/bin/activate` chooses it"
# What TensorFlow 2.21 prints on any machine without a GPU, before it reads a log level.
NOISE = (
    "All log messages before absl::InitializeLog|oneDNN custom operations are on|Could not find cuda drivers"
    "|TensorFlow binary is optimized to use available CPU instructions|^To enable the following instructions: "
)


def begin() -> None:
    """Prepare for the imports of a program. They make a million objects and no garbage: stage.py turns it on again."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(f"Python 3.11 to 3.13 is needed, {sys.executable} is {sys.version.split()[0]}; {WAY_OUT}")
    sys.excepthook = _say_in_one_line
    if os.environ.pop("PYTHONWARNINGS", ""):  # "error" ends the imports: packages warn of each other
        warnings.filters[:] = [rule for rule in warnings.filters if rule[0] != "error"]
    gc.disable()  # 1.2 of 4.8 s before a training
    keep_memory()  # before the imports make threads, which would have heaps of their own
    if sys.stderr and shutil.which("grep") and os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0":
        sys.meta_path.insert(0, SimpleNamespace(find_spec=_find_tensorflow))


def keep_memory() -> None:
    """Have the C library keep what is freed, in one heap: mallopt(3).

    By default each tensor of more than 32 MiB is new memory, which the kernel clears page by page: 600,000 pages in
    a step of the mini-Xception in float32, which took 3.4 s on a virtual machine and without them takes 2.4 s.
    """
    with suppress(AttributeError):  # glibc has it, macOS does not
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-8, 1), (-4, 0), (-1, 2**31 - 1)):  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD
            mallopt(parameter, value)


def _say_in_one_line(kind, error, trace) -> None:
    """Print a line for Ctrl-C during the imports and for a package that is missing, a traceback for other errors."""
    line = "interrupted" if kind is KeyboardInterrupt else ""
    if kind is ModuleNotFoundError and not (error.name or "pipeline").startswith("pipeline"):
        line = f"no package {error.name} in {sys.executable}; {WAY_OUT}"
    if line:
        print(f"{Path(sys.argv[0].removesuffix('/__main__.py')).stem}: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _find_tensorflow(name, path=None, target=None):
    spec = PathFinder.find_spec(name, path) if name == "tensorflow" else None
    if spec:
        spec.loader.exec_module = _less_noise()(spec.loader.exec_module)
    return spec


@contextmanager
def _less_noise():
    """Filter the noise out of stderr. grep is a process of its own and prints the last line of a crash, too."""
    stderr, command = os.dup(2), ["grep", "--text", "--invert-match", "--extended-regexp", NOISE]
    grep = Popen(command, stdin=PIPE, stdout=stderr, start_new_session=True)  # a session without Ctrl-C
    os.dup2(grep.stdin.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        grep.stdin.close()
        with suppress(TimeoutExpired):  # of a child that has inherited it
            grep.wait(1)
