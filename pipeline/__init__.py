"""A reproducible training pipeline for Oxford-IIIT Pets. Here: what is set before the other imports."""

import ctypes
import gc
import os
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h


def keep_memory() -> None:
    """Have the C library keep what is freed, in one heap: mallopt(3).

    By default each tensor of more than 32 MiB is new memory, which the kernel clears page by page: 600,000 pages in
    a step of the mini-Xception in float32, which took 3.4 s on a virtual machine and without them takes 2.4 s.
    """
    with suppress(AttributeError):  # glibc has it, macOS does not
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(parameter, value)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reports a machine without a GPU as an error
os.environ["KERAS_HOME"] = os.environ["MATPLOTLIBRC"] = os.devnull  # no settings of the user's: they change the bytes
for _name in ("KERAS_BACKEND", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(_name, None)

if sys.argv[0] == "-m":  # a program of this package starts, whose imports make a million objects and no garbage
    gc.disable()  # until it has them (stage.py): 1.2 of 4.8 s before a training
    keep_memory()  # before they make threads, which would have heaps of their own

STARTED_BY = os.getppid()  # asked before the imports: they take seconds, in which it may be killed
