"""How fast a training is: against the chapter's way, and against the same step without any input.

    python -m benchmarks.training [--rounds 2]       twenty minutes on 2 cores

Needs data/ after `dvc repro preprocess_segmenter preprocess_classifier` on real pets. Against the chapter: whole epochs
of the train split, validation and checkpoint included, after a warm-up; loading the pictures is not counted. Against a
constant batch: in one process, the same number of steps by turns.
"""

import argparse
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import tensorflow as tf
import yaml

from benchmarks import chapter
from benchmarks.measure import REPOSITORY, in_process, ratios, side_by_side, spread, table
from pipeline.data.dataset import load_dataset
from pipeline.params import load_params
from pipeline.paths import PREPARED
from pipeline.tasks import TASKS
from pipeline.training.batches import steps_per_epoch, training_batches
from pipeline.training.setup import new_models

GOALS = {"classifier": 3, "segmenter": 2}  # times the chapter's pictures per second
TURNS = 4


class Clock:
    """Stands where a run is tracked, and notes when each epoch is over."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def log_later(self, history: list[dict[str, float]]) -> None:
        self.ends.append(time.perf_counter())


def pipeline_speed(task: str) -> float:
    """Pictures per second in the second of two epochs of the stage train, by the moments at which it prints them."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[f"train_{task}"]["epochs"] = 2
    command, here = [sys.executable, "-m", "pipeline.train", task], os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with TemporaryDirectory() as folder:
        Path(folder, "params.yaml").write_text(yaml.safe_dump(params))
        Path(folder, PREPARED).parent.mkdir()
        Path(folder, PREPARED).symlink_to(PREPARED.resolve())
        with subprocess.Popen(command, cwd=folder, env=here, stdout=subprocess.PIPE, text=True) as stage:
            first, second = (time.perf_counter() for line in stage.stdout if " epoch " in line)
    return len(load_dataset(task).rows("train")) / (second - first)


def chapter_speed(task: str, unpacked: Path) -> float:
    """The same of the chapter's way."""
    params, data, clock = getattr(load_params(), f"train_{task}"), load_dataset(task), Clock()
    train, validation = (
        chapter.load_split(task, unpacked, data.samples, split, data.image_size) for split in ("train", "validation")
    )
    with TemporaryDirectory() as folder:
        chapter.compiled(task, params, data.image_size).fit(
            *train,
            batch_size=params.batch_size,
            epochs=2,
            validation_data=validation,
            callbacks=[
                keras.callbacks.ModelCheckpoint(Path(folder, "best.keras"), save_best_only=True),
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.log_later([])),
            ],
            verbose=0,
        )
    return len(train[0]) / (clock.ends[1] - clock.ends[0])


def input_cost(task: str) -> list[float]:
    """The speed on pictures over the speed on one constant batch, half an epoch of each, for each of the turns."""
    params, data = getattr(load_params(), f"train_{task}"), load_dataset(task)
    _, twin = new_models(task, params, data)
    pictures = training_batches(data, params.batch_size, params.seed, augmentation=params.augmentation)
    constant = tf.data.Dataset.from_tensors(next(iter(pictures))).repeat().with_options(pictures.options())
    steps, seconds = steps_per_epoch(data, params.batch_size) // 2, {"pictures": [], "constant": []}
    twin.fit(pictures, steps_per_epoch=2, verbose=0)  # to trace
    for name, batches in [("constant", constant), ("pictures", pictures)] * TURNS:
        started = time.perf_counter()
        twin.fit(batches, steps_per_epoch=steps, verbose=0)
        seconds[name].append(time.perf_counter() - started)
    return ratios(seconds["constant"], seconds["pictures"])


def compare(task: str, rounds: int, unpacked: Path) -> list[dict[str, str]]:
    """A row against the chapter, one against a constant batch."""
    speeds = side_by_side(
        {
            "pipeline": partial(pipeline_speed, task),
            "chapter": partial(in_process, chapter_speed, task, unpacked),
        },
        rounds,
    )
    fed = in_process(input_cost, task)
    what = f"{task}, training pictures/s"
    return [
        {
            "what": f"{what}, whole epochs",
            "here": spread(speeds["pipeline"]),
            "there": f"the chapter's way: {spread(speeds['chapter'])}",
            "ratio": spread(ratios(speeds["pipeline"], speeds["chapter"])),
            "goal": f"{GOALS[task]}",
        },
        {
            "what": what,
            "here": "",
            "there": "one constant batch",
            "ratio": spread(fed),
            "goal": "0.97",
        },
    ]


def measure(rounds: int = 2) -> list[dict[str, str]]:
    with TemporaryDirectory() as folder:
        chapter.unpack(Path(folder))
        return [row for task in TASKS for row in compare(task, rounds, Path(folder))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--rounds", type=int, default=2)
    print(table(measure(parser.parse_args().rounds)))
