"""Ways to the same end, side by side in one run: in processes of their own, in turn, medians and spread."""

import multiprocessing
import platform
import re
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import cpu_count

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
LIBRARIES = ("tensorflow", "keras", "opencv-python-headless", "simplejpeg", "pillow")


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a module's function returns in a fresh process: what TensorFlow once set stays."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def side_by_side(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each way gives in each round; the ways take turns, so that a slower minute hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
            print(f"round {k + 1} of {rounds}: {name}: {found[name][-1]:.4g}", file=sys.stderr, flush=True)
    return found


def spread(values: list[float]) -> str:
    """The median, and the least and the most."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def ratios(one: list[float], other: list[float]) -> list[float]:
    """Of each round, so that what slows both is not seen."""
    return [a / b for a, b in zip(one, other, strict=True)]


def peak_memory() -> float:
    """Of this process so far, in MiB. Linux only: ru_maxrss begins with what the parent had at its worst."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) / 1024


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: the machine and the versions, and the rows."""
    return f"{machine()}\n\n{pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)}\n"


def machine() -> str:
    """The processor, its cores, what `precision: mixed` is on it, and the versions that matter."""
    from pipeline.training.devices import device  # imports TensorFlow, which would count where peak_memory is asked

    model = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{cpu_count()} cores of {(model or [platform.machine()])[0]}, {device('mixed')}, "
        f"Python {platform.python_version()}, {libraries}"
    )
