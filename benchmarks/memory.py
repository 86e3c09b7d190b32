"""Whether memory stays flat as the data grows: peaks of preprocess and of training at 1, 3 and 10 times the data.

    python -m benchmarks.memory [--times 1 3 10]       half an hour and 10 GB of disk on 2 cores

Needs data/raw of real pets. The archives hold every picture and trimap so many times, under other names and, by some
bytes behind each, with other contents. Training is a whole epoch of batches and of validation batches, of which the
first ones are trained on and validated: the others take what they take to be read.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks.measure import REPOSITORY, table
from pipeline.data.archives import read_lists, read_pictures, read_trimaps
from pipeline.data.dataset import load_dataset
from pipeline.params import load_params
from pipeline.paths import RAW
from pipeline.tasks import TASKS
from pipeline.training.batches import ordered_batches, steps_per_epoch, training_batches
from pipeline.training.setup import new_models
from tests.helpers.petsbuilder import write_tar

STEPS = 6
SPECIES = {"cat": 1, "dog": 2}


def copy_of(stem: str, k: int) -> str:
    breed, _, number = stem.rpartition("_")
    return f"{breed}_{int(number) * 1000 + k}"


def repeated_annotations(times: int, listed: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    for split, rows in listed.groupby("split"):
        pairs = product(rows.itertuples(), range(times))
        lines = [f"{copy_of(row.stem, k)} 1 {SPECIES[row.species]} 1\n" for row, k in pairs]
        yield f"annotations/{split}.txt", "".join(lines).encode()
    trimaps = read_trimaps(RAW / "annotations.tar.gz", listed["stem"])
    for (stem, trimap), k in product(sorted(trimaps.items()), range(times)):
        yield f"annotations/trimaps/{copy_of(stem, k)}.png", trimap


def write_archives(times: int, folder: Path) -> None:
    """Both archives with everything so many times."""
    listed = read_lists(RAW / "annotations.tar.gz")
    (folder / RAW).mkdir(parents=True)
    write_tar(folder / RAW / "annotations.tar.gz", repeated_annotations(times, listed), "w")
    pictures = read_pictures(RAW / "images.tar.gz", listed["stem"])
    repeated = (
        (f"images/{copy_of(stem, k)}.jpg", data + k.to_bytes(2)) for stem, data in pictures for k in range(times)
    )
    write_tar(folder / RAW / "images.tar.gz", repeated, "w")


def train_some(task: str) -> None:
    """An epoch of reading, with some steps."""
    params, data = getattr(load_params(), f"train_{task}"), load_dataset(task)
    _, twin = new_models(task, params, data)
    batches = training_batches(data, params.batch_size, params.seed, augmentation=params.augmentation)
    validation = ordered_batches(data, "validation", params.batch_size)
    twin.fit(
        batches,
        steps_per_epoch=STEPS,
        validation_data=validation,
        validation_steps=STEPS,
        shuffle=False,  # the batches are
        verbose=0,
    )
    for part in (batches.take(steps_per_epoch(data, params.batch_size)), validation):
        for _ in part:
            pass


WORK = {  # in processes that import no more than the stage does
    "preprocess": "from pipeline.preprocess import preprocess; preprocess({!r})",
    "training": "from benchmarks.memory import train_some; train_some({!r})",
}


def peak_of(work: str) -> float:
    """MiB that a process has at its worst."""
    begin = "from pipeline.start import keep_memory; keep_memory()"  # as a program does
    code = f"{begin}; {work}; from benchmarks.measure import peak_memory; print(peak_memory())"
    here = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=here, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def peaks(times: int) -> dict[str, float]:
    """MiB, of each stage and task."""
    found = {}
    with TemporaryDirectory() as folder:
        write_archives(times, Path(folder))
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(name, folder)
        with contextlib.chdir(folder):
            for stage, work in WORK.items():
                for task in TASKS:
                    peak = found[f"{task}, {stage}"] = peak_of(work.format(task))
                    print(f"{times} times, {task}, {stage}: {peak:.0f} MiB", file=sys.stderr, flush=True)
    return found


def measure(times: Sequence[int] = (1, 3, 10)) -> list[dict[str, str]]:
    found = {k: peaks(k) for k in times}
    least, most = times[0], times[-1]
    return [
        {
            "what": f"{name}: peak memory with {most} times the data, MiB",
            "here": f"{found[most][name]:.0f}",
            "there": ", ".join(f"{k} x: {found[k][name]:.0f}" for k in times[:-1]),
            "ratio": f"{found[most][name] / found[least][name]:.3f}",
            "goal": "at most 1.05",
        }
        for name in found[least]
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 3, 10])
    print(table(measure(parser.parse_args().times)))
