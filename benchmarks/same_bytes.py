"""Run the pipeline under one variation after another, and compare dvc.lock with that of the first run.

    python -m benchmarks.same_bytes [--size tiny | demo]    half an hour on 2 cores; demo an hour and a half

tiny: embedded pets at 16 x 16, 3 epochs, batches of 13, which leave a remainder; demo: the parameters of `make demo`.
Needs, on Debian, `apt-get install faketime locales` and locale-gen of tr_TR.UTF-8 and de_DE.ISO-8859-1.
"""

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from pipeline.outputs import read_metrics
from pipeline.paths import METRICS
from pipeline.tasks import TASKS
from tests.helpers.project import commit_all, make_repository, run_in, write_params

THREADS = os.environ.get("TF_NUM_INTRAOP_THREADS", str(len(os.sched_getaffinity(0))))  # what the first run has
Variation = tuple[str, ...]  # a command before `dvc repro --force`; `env` sets variables

MAY_NOT_MATTER: dict[str, Variation] = {
    "another folder, `dvc repro --force`": ("env",),
    "one core, as many threads": ("taskset", "--cpu-list", "0", "env", f"TF_NUM_INTRAOP_THREADS={THREADS}"),
    "PYTHONHASHSEED=1": ("env", "PYTHONHASHSEED=1"),
    "locale C, ASCII": ("env", "LC_ALL=C", "PYTHONCOERCECLOCALE=0", "PYTHONUTF8=0"),
    "locale tr_TR.UTF-8": ("env", "LC_ALL=tr_TR.UTF-8"),
    "locale de_DE.ISO-8859-1": ("env", "LC_ALL=de_DE.ISO-8859-1"),
    "time zone Pacific/Chatham": ("env", "TZ=Pacific/Chatham"),
    "in the year 2031": ("faketime", "2031-02-03 04:05:06"),
    "umask 077, no home": ("env", "HOME=/nowhere", "sh", "-c", 'umask 077; exec "$@"', "sh"),
    "a user's keras.json": ("env", "KERAS_HOME=settings", "KERAS_MAX_EPOCHS=1"),
    "a user's matplotlibrc": ("env", "MATPLOTLIBRC=settings/matplotlibrc"),
    "OMP_NUM_THREADS=1": ("env", "OMP_NUM_THREADS=1"),
    "TF_NUM_INTEROP_THREADS=1": ("env", "TF_NUM_INTEROP_THREADS=1"),
    "oneDNN for AVX2": ("env", "ONEDNN_MAX_CPU_ISA=AVX2"),
    "without oneDNN": ("env", "TF_ENABLE_ONEDNN_OPTS=0"),
}
MATTERS: dict[str, Variation] = {
    "1 thread": ("env", "TF_NUM_INTRAOP_THREADS=1"),
    "8 threads": ("env", "TF_NUM_INTRAOP_THREADS=8"),
}
DEMO = {
    "download": {"dataset": "embedded"},
    "preprocess": {"validation_fraction": 0.2, "segmenter_size": 64, "classifier_size": 64},
    "train_segmenter": {"epochs": 20, "batch_size": 16},
    "train_classifier": {"epochs": 20, "batch_size": 8},
}


def make_base(folder: Path, size: str) -> None:
    """A repository in which nothing has run."""
    folder.mkdir()
    odd = {"batch_size": 13, "epochs": 3}
    make_repository(folder, train_segmenter=odd, train_classifier=odd | {"architecture": "mini_xception"})
    if size == "demo":
        write_params(folder, **DEMO)
        commit_all(folder, "the parameters of make demo")


def rerun(base: Path, folder: Path, variation: Variation) -> None:
    """The whole pipeline in a clone, beside which lie settings of a user's."""
    run_in(base, "git", "clone", "--quiet", str(base), str(folder))
    (folder / "settings").mkdir()
    (folder / "settings/keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    (folder / "settings/matplotlibrc").write_text("figure.facecolor: red\n")
    run_in(folder, *variation, "dvc", "repro", "--force")


def checksum(folder: Path) -> str:
    return hashlib.sha256((folder / "dvc.lock").read_bytes()).hexdigest()[:12]


def figures(folder: Path) -> pd.Series:
    """Every metric of both models, by name."""
    files = {name: read_metrics((folder / METRICS / f"{name}.json").read_text()) for name in (*TASKS, "training")}
    return pd.json_normalize(files).T[0]


def farthest(task: str, moved: pd.Series) -> str:
    """How far the validation loss moved, and the test metric that moved farthest; nothing if none did."""
    merits, loss = moved.filter(regex=rf"^{task}\."), moved[f"training.{task}.best_val_loss"]
    name = merits.abs().idxmax()
    return f"{name.split('.')[1]} {merits[name]:+.2g}, validation loss {loss:+.2g}" if merits.any() or loss else ""


def row(name: str, base: Path, folder: Path) -> str:
    """A line of the table."""
    moved = (figures(folder) - figures(base)).dropna().astype(float)
    same = "yes" if checksum(folder) == checksum(base) else "no"
    cells = [name, f"`{checksum(folder)}`", same, *(farthest(task, moved) for task in TASKS)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Exit 1 if what may not matter does."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_bytes")
    parser.add_argument("--size", choices=("tiny", "demo"), default="tiny")
    size = parser.parse_args().size
    with TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        make_base(base, size)
        run_in(base, "dvc", "repro")
        print("| variation | sha256 of dvc.lock | identical | segmenter moved by | classifier moved by |")
        print(f"| --- | --- | --- | --- | --- |\n| the first run | `{checksum(base)}` | | | |", flush=True)
        others = set()
        for name, variation in (MAY_NOT_MATTER | MATTERS).items():
            folder = Path(temporary) / f"clone {time.monotonic_ns()}"
            rerun(base, folder, variation)
            print(row(name, base, folder), flush=True)
            others |= {name} if checksum(folder) != checksum(base) else set()
    sys.exit(1 if others & MAY_NOT_MATTER.keys() else 0)


if __name__ == "__main__":
    main()
