"""What a second experiment takes, beyond its training, and a `dvc repro` with nothing to do.

    python -m benchmarks.experiments [--rounds 2]       20 minutes on 2 cores

Needs data/raw and `dvc repro preprocess_segmenter preprocess_classifier` of real pets. In a clone of HEAD both models
are trained for an epoch; then one's learning rate changes, and `dvc repro` runs: train, evaluate, plot. The other side
is the chapter's notebook, run again with the change: imports, all pictures, an epoch, the test split. Both have to
train and to predict the test split; what is left of the time is what the pipeline costs, but for the state that is
saved within each epoch.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks import chapter
from benchmarks.measure import REPOSITORY, ratios, spread, table
from pipeline.paths import RAW
from pipeline.tasks import TASKS

EPOCH_LINE = re.compile(r" epoch \d+/\d+: .*, ([\d.]+) s so far\n")


def change(section: str, **keys: float) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[section] |= keys
    Path("params.yaml").write_text(yaml.safe_dump(params))


def repro() -> tuple[float, float]:
    """The seconds of `dvc repro`, and of the epochs in it."""
    started = time.perf_counter()
    done = subprocess.run(["dvc", "repro"], stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - started, sum(map(float, EPOCH_LINE.findall(done.stdout)))


def notebook(task: str, unpacked: Path) -> tuple[float, float]:
    """The seconds of the notebook, from its imports on, and of predicting the test split in it."""
    code = f"from benchmarks.chapter import notebook; print(notebook({task!r}, {str(unpacked)!r}))"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - started, float(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def project() -> Iterator[None]:
    """Within: a clone of HEAD with this folder's archives and parameters, an epoch for each model, all stages done."""
    params, source = Path("params.yaml").read_text(), RAW.resolve()
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True)
        with contextlib.chdir(folder):
            os.environ["PETS_SOURCE"] = str(source)
            Path("params.yaml").write_text(params)
            for task in TASKS:
                change(f"train_{task}", epochs=1)
            repro()
            yield


def second_experiments(task: str, rounds: int, unpacked: Path) -> list[dict[str, str]]:
    """Rows for the whole and for what is left without the epoch and the test split."""
    here: list[float] = []
    there: list[float] = []
    beyond: list[float] = []
    for k in range(rounds):
        change(f"train_{task}", learning_rate=0.001 + (k + 1) / 1e6)
        whole, epoch = repro()
        again, test = notebook(task, unpacked)
        there.append(again)
        here.append(whole)
        beyond.append(whole - epoch - test)
        print(
            f"{task}: {whole:.1f} s, the epoch {epoch:.1f} s, the test split {test:.1f} s", file=sys.stderr, flush=True
        )
    what = f"{task}, a second experiment of one epoch, s"
    ours = {"what": what, "here": spread(here), "there": f"the notebook again: {spread(there)}"}
    return [
        ours | {"ratio": spread(ratios(there, here)), "goal": ""},
        {
            "what": f"{what}: beyond its epoch and `model.predict` of the test split",
            "here": spread(beyond),
            "there": "",
            "ratio": "",
            "goal": "at most 10",
        },
    ]


def measure(rounds: int = 2) -> list[dict[str, str]]:
    with TemporaryDirectory() as unpacked:
        chapter.unpack(Path(unpacked))
        with project():
            idle = [repro()[0] for _ in range(5)]
            rows = [row for task in TASKS for row in second_experiments(task, rounds, Path(unpacked))]
    nothing = {"what": "`dvc repro` with nothing to do, s", "here": spread(idle), "there": "", "ratio": ""}
    return [*rows, nothing | {"goal": "at most 2"}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments")
    parser.add_argument("--rounds", type=int, default=2)
    print(table(measure(parser.parse_args().rounds)))
