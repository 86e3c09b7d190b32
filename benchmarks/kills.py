"""Kill `dvc repro` at seeded moments of every stage, run it again, compare with an undisturbed run.

    python -m benchmarks.kills [--kills 60] [--seed 4]      half an hour on 2 cores

A trial is a copy of a repository of the embedded pets at 16 x 16 in which one stage has not run, and which has no
MLflow store. In some of them dvc.lock names its outputs, as in a clone without a cache. `dvc repro` is killed there and
run again, at once. It must end with the dvc.lock and the outputs of an undisturbed run, byte for byte, train no
whole epoch twice, and leave one finished run of the training, whole, no state and no draft.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import psutil
from dvc.utils.serialize import dump_yaml, load_yaml

from benchmarks.endings import faults, outputs
from pipeline.tasks import TASKS
from tests.helpers.project import clone_of, commit_all, environment, make_repository, run_in

WAYS: dict[str, Callable[[subprocess.Popen], None]] = {
    "kill -9 of all": lambda dvc: os.killpg(dvc.pid, signal.SIGKILL),
    "kill -9 of dvc": lambda dvc: dvc.kill(),
    "SIGTERM to dvc": lambda dvc: dvc.terminate(),
    "Ctrl-C": lambda dvc: os.killpg(dvc.pid, signal.SIGINT),
}
COUNTS = ["kills", "identical ends", "faults", "after recover"]
RANDOM = "at random"
EPOCH = "the state of an epoch is written"
STORING = "DVC stores the outputs"
TRAINING = {
    "MLflow's tables are made": "mlflow.db.draft",
    EPOCH: ".training/.draft-*",
    "the checkpoint is written": "data/models/.draft-*",
    "MLflow gets the checkpoint": "mlartifacts/**/*.keras",
}
PREPARING = {
    task: {"arrays are written": f"data/prepared/.draft-{task}/*.npy", STORING: f"data/metrics/counts_{task}.json"}
    for task in TASKS
}
MOMENTS = {  # of each stage, the files whose appearance marks one; after the last output the stage ends, and DVC stores
    "download": {"archives are drawn": "data/.draft-raw/*", STORING: "data/raw/images.tar.gz"},
    "preprocess_segmenter": PREPARING["segmenter"],
    "preprocess_classifier": PREPARING["classifier"],
    "train_segmenter": TRAINING | {STORING: "data/history/segmenter.csv"},
    "train_classifier": TRAINING | {STORING: "data/history/classifier.csv"},
    "evaluate_segmenter": {"plots are drawn": "data/plots/.draft-segmenter/*", STORING: "data/metrics/segmenter.json"},
    "evaluate_classifier": {"MLflow gets them": "mlartifacts/**/roc.csv", STORING: "data/metrics/classifier.json"},
    "plot": {"plots are drawn": "data/plots/.draft-curves/*", STORING: "data/metrics/training.json"},
}


@dataclass(frozen=True)
class Trial:
    """Which stage is killed when, some seconds after a moment of it, and how.

    is_locked: dvc.lock names what the stage would leave.
    """

    stage: str
    moment: str
    way: str
    delay: float
    is_locked: bool

    def __str__(self) -> str:
        locked = ", locked" if self.is_locked else ""
        return f"{self.stage}, {self.moment} + {self.delay:.2f} s, {self.way}{locked}"


@dataclass(frozen=True)
class Undisturbed:
    """A stage that nobody kills: the seconds that `dvc repro` takes, and what it leaves, path -> md5."""

    seconds: float
    md5s: dict[str, str]


def without(stage: str, is_locked: bool, base: Path, folder: Path) -> None:
    """Copy a repository as if this stage had not run, nor an evaluation of it; DVC cannot restore them."""
    clone_of(base, folder)
    shutil.rmtree(folder / ".dvc/cache/runs")
    lock = load_yaml(folder / "dvc.lock")
    for name in {stage, stage.replace("train", "evaluate")}:
        for out in lock["stages"][name]["outs"]:
            path, cached = folder / out["path"], folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            cached.unlink(missing_ok=True)
        if not is_locked:
            del lock["stages"][name]
    if not is_locked:
        dump_yaml(folder / "dvc.lock", lock)
        commit_all(folder, f"without {stage}")


def undisturbed(stage: str, base: Path, folder: Path) -> Undisturbed:
    """Run a stage as the trials do, without a kill."""
    without(stage, False, base, folder)
    started = time.monotonic()
    run_in(folder, "dvc", "repro")
    return Undisturbed(time.monotonic() - started, outputs(folder))


def kill(trial: Trial, folder: Path) -> bool:
    """Start `dvc repro` and kill it; whether it was at work."""
    log, mark = folder / "killed.log", MOMENTS[trial.stage].get(trial.moment, "dvc.yaml")
    with log.open("w") as file:
        streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
        around = environment() | {"SHELL": "/bin/sh"}  # DVC takes it where none is set, as in a container
        dvc = subprocess.Popen(["dvc", "repro"], cwd=folder, env=around, process_group=0, **streams)
    _wait(dvc, lambda: trial.moment != EPOCH or "epoch 1/" in log.read_text())  # before it comes a state of no epoch
    _wait(dvc, lambda: any(folder.glob(mark)))
    _wait(dvc, lambda: trial.moment != STORING or not psutil.Process(dvc.pid).children())
    time.sleep(trial.delay)
    was_at_work = dvc.poll() is None
    if was_at_work:
        WAYS[trial.way](dvc)
        dvc.wait()
    return was_at_work


def _wait(dvc: subprocess.Popen, is_so: Callable[[], bool]) -> None:
    while dvc.poll() is None and not is_so():
        time.sleep(0.001)


def repro(folder: Path) -> tuple[str, bool]:
    """`dvc repro`: what it prints, and whether it needed what `make repro` does first, as after a kill of dvc's own."""
    again = run_in(folder, "dvc", "repro", check=False)
    if again.returncode == 0:
        return again.stdout, False
    print(again.stderr.strip())
    run_in(folder, "python", "-m", "pipeline.recover")
    return again.stdout + run_in(folder, "dvc", "repro").stdout, True


def run_trial(trial: Trial, base: Path, folder: Path, expected: dict[str, str]) -> dict[str, bool]:
    """Kill and go on, in a new folder: the COUNTS of this trial. expected: the md5s of the outputs, by path."""
    without(trial.stage, trial.is_locked, base, folder)
    was_at_work = kill(trial, folder)
    printed, is_mended = repro(folder)
    printed = (folder / "killed.log").read_text() + printed
    found = faults(folder, trial.stage, printed, expected)
    print(f"{trial}: {'; '.join(found) or 'identical'}", flush=True)
    if found:
        print(printed, flush=True)
    return dict(zip(COUNTS, (was_at_work, was_at_work and not found, bool(found), is_mended), strict=True))


def run_trials(base: Path, kills: int, chance: random.Random) -> pd.DataFrame:
    """Every moment of every stage as often as any other, and the ways in turn."""
    moments = [(stage, moment) for stage, marks in MOMENTS.items() for moment in (RANDOM, *marks)]
    alone, at_base = {stage: undisturbed(stage, base, base.with_name(stage)) for stage in MOMENTS}, outputs(base)
    rows = []
    for k in range(kills):
        stage, moment = moments[k % len(moments)]
        delay = chance.uniform(0, {RANDOM: alone[stage].seconds, STORING: 0.15}.get(moment, 0.05))
        trial = Trial(stage, moment, list(WAYS)[k % len(WAYS)], delay, is_locked=chance.random() < 0.5)
        folder = base.with_name(f"trial{k}")  # another path each time: MLflow keeps a database open by its path
        rows.append(asdict(trial) | run_trial(trial, base, folder, at_base if trial.is_locked else alone[stage].md5s))
        shutil.rmtree(folder)
    return pd.DataFrame(rows)


def main() -> None:
    """Exit 1 if a trial did not end as without the kill, or a moment was not met once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=4)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores Ctrl-C, and so would dvc
    with TemporaryDirectory() as temporary:
        base = Path(temporary, "base")
        base.mkdir()
        classifier = {"architecture": "mini_xception", "epochs": 4}  # dropout, augmentation, batch normalization
        make_repository(base, train_segmenter={"epochs": 4}, train_classifier=classifier)
        run_in(base, "dvc", "repro")
        commit_all(base, "its outputs")
        trials = run_trials(base, given.kills, random.Random(given.seed))
    for groups in (["stage", "moment"], ["way"], ["is_locked"]):
        print(trials.groupby(groups, sort=False)[COUNTS].sum().reset_index().to_markdown(index=False), end="\n\n")
    met = trials.groupby(["stage", "moment"])["kills"].any()
    sys.exit(1 if trials["faults"].any() or not met.all() else 0)


if __name__ == "__main__":
    main()
