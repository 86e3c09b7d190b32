"""From `python -m pipeline.train TASK` to the end of its first step, and what that is made of.

    python -m benchmarks.starting [--rounds 5]       three minutes on 2 cores

Needs `dvc repro preprocess_segmenter preprocess_classifier` of real pets. The stage runs in a clone of its own, with a
new store, until its first step is done; its parts are clocked on the way.
"""

import argparse
import importlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import REPOSITORY, spread, table
from pipeline.paths import PREPARED
from pipeline.tasks import TASKS

IMPORTS = ("tensorflow", "keras", "mlflow", "pipeline.train")  # each takes what those before it have not imported
PARTS = {
    ("pipeline.train", "new_models"): "models",
    ("pipeline.inputs", "inputs"): "md5 of the pictures",
    ("pipeline.train", "LiveRun"): "MLflow",
}


def clocked(name: str, function: Callable, parts: dict[str, float]) -> Callable:
    """The function, which adds its seconds to the part with this name."""

    def timed(*arguments):
        started = time.perf_counter()
        result = function(*arguments)
        parts[name] = time.perf_counter() - started
        return result

    return timed


def start(task: str, began: float) -> None:
    """Print the seconds of each part of a training's start as JSON. began: when the process did, as time.time()."""
    parts = {"Python and pandas": time.time() - began}
    for name in IMPORTS:
        clocked(f"import {name}", importlib.import_module, parts)(name)
    train = sys.modules["pipeline.train"]

    def first_step(twin, data, params, *_) -> None:
        started = time.perf_counter()
        batches = train.training_batches(data, params.batch_size, params.seed, 0, params.augmentation)
        twin.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)
        parts["first step, traced"] = time.perf_counter() - started
        print(json.dumps(parts | {"all": time.time() - began}))
        raise KeyboardInterrupt

    for (module, name), what in PARTS.items():
        setattr(sys.modules[module], name, clocked(what, getattr(sys.modules[module], name), parts))
    train.fit = first_step
    train.run(train.train, task)


def started(task: str) -> dict[str, float]:
    """The seconds of the parts, in a clone of HEAD with the data and the parameters of this folder."""
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True)
        shutil.copy("params.yaml", folder)
        Path(folder, PREPARED).parent.mkdir()
        Path(folder, PREPARED).symlink_to(PREPARED.resolve())
        # As `python -m pipeline.train` begins: the package first, while sys.argv[0] is "-m".
        begin = f"import sys; began = {time.time()}; sys.argv[0] = '-m'; import pipeline"
        code = f"{begin}; from benchmarks.starting import start; start({task!r}, began)"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(task: str, rounds: int) -> dict[str, str]:
    found = [started(task) for _ in range(rounds)]
    medians = {part: statistics.median(parts[part] for parts in found) for part in found[0] if part != "all"}
    return {
        "what": f"{task}, from the command to the end of the first step, s",
        "here": spread([parts["all"] for parts in found]),
        "there": ", ".join(f"{part} {seconds:.1f}" for part, seconds in medians.items()),
        "ratio": "",
        "goal": "stated",
    }


def measure(rounds: int = 5) -> list[dict[str, str]]:
    return [compare(task, rounds) for task in TASKS]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starting")
    parser.add_argument("--rounds", type=int, default=5)
    print(table(measure(parser.parse_args().rounds)))
