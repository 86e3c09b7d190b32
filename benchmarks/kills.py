"""Kill `dvc repro` at seeded moments of every stage, run it again, compare with an undisturbed run.

    python -m benchmarks.kills [--kills 60] [--seed 4]      half an hour on 2 cores

A trial is a copy of a repository of the embedded pets at 16 x 16 in which one stage has not run, and which has no
MLflow store. `dvc repro` is killed there and run again, at once. It must end with the dvc.lock and the outputs of an
undisturbed run, byte for byte, train no whole epoch twice, and leave one finished run of the training, whole, and no
state.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
import psutil
from dvc.utils.serialize import dump_yaml, load_yaml

from pipeline.stage import METRICS, TASKS, content_md5
from tests.project import clone_of, environment, finished_runs, make_repository, run_in

WAYS: dict[str, Callable[[subprocess.Popen], None]] = {
    "kill -9 of all": lambda dvc: os.killpg(dvc.pid, signal.SIGKILL),
    "kill -9 of dvc": lambda dvc: dvc.kill(),
    "SIGTERM to dvc": lambda dvc: dvc.terminate(),
    "Ctrl-C": lambda dvc: os.killpg(dvc.pid, signal.SIGINT),
}
COUNTS = ["kills", "identical ends", "after recover"]
RANDOM = "at random"
STORING = "DVC stores the outputs"
TRAINING = {
    "MLflow's tables are made": "mlflow.db.draft",
    "a state is written": ".training/*.draft",
    "the checkpoint is written": "data/models/draft-*",
    "MLflow gets the checkpoint": "mlartifacts/**/*.keras",
}
MOMENTS = {  # of each stage, the files whose appearance marks one; after the last output the stage ends, and DVC stores
    "download": {"archives are drawn": "data/raw/draft/*", STORING: "data/raw/images.tar.gz"},
    "preprocess": {"arrays are written": "data/prepared/*/images.npy", STORING: "data/metrics/preprocess.json"},
    "train_segmenter": TRAINING | {STORING: "data/history/segmenter.csv"},
    "train_classifier": TRAINING | {STORING: "data/history/classifier.csv"},
    "evaluate_segmenter": {"figures are drawn": "data/plots/segmenter/*", STORING: "data/metrics/segmenter.json"},
    "evaluate_classifier": {"MLflow gets them": "mlartifacts/**/roc.csv", STORING: "data/metrics/classifier.json"},
    "plot": {"figures are drawn": "data/plots/curves/*", STORING: "data/metrics/training.json"},
}


@dataclass(frozen=True)
class Undisturbed:
    """A stage that nobody kills: the seconds that `dvc repro` takes, and what it leaves, path -> md5."""

    seconds: float
    md5s: dict[str, str]


def without(stage: str, base: Path, trial: Path) -> Path:
    """A copy of a repository in which this stage has not run, nor an evaluation of it, and that cannot restore it."""
    shutil.rmtree(trial, ignore_errors=True)
    clone_of(base, trial)
    shutil.rmtree(trial / ".dvc/cache/runs")
    lock = load_yaml(trial / "dvc.lock")
    for name in {stage, stage.replace("train", "evaluate")}:
        for out in lock["stages"].pop(name)["outs"]:
            path = trial / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    dump_yaml(trial / "dvc.lock", lock)
    return trial


def outputs(repository: Path) -> dict[str, str]:
    """The md5 of dvc.lock and of every output, by path."""
    stages = load_yaml(repository / "dvc.lock")["stages"].values()
    paths = ["dvc.lock", *(out["path"] for stage in stages for out in stage["outs"])]
    return {path: content_md5(repository / path) for path in paths}


def undisturbed(stage: str, base: Path, trial: Path) -> Undisturbed:
    """Run a stage as the trials do, without a kill."""
    without(stage, base, trial)
    started = time.monotonic()
    run_in(trial, "dvc", "repro")
    return Undisturbed(time.monotonic() - started, outputs(trial))


def kill(trial: Path, stage: str, moment: str, way: str, delay: float) -> bool:
    """Start `dvc repro`, kill it `delay` seconds after a moment of a stage; whether it was at work."""
    mark = MOMENTS[stage].get(moment, "dvc.yaml")
    with (trial / "killed.log").open("w") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        around = environment() | {"SHELL": "/bin/sh"}  # DVC takes it where none is set, as in a container
        dvc = subprocess.Popen(["dvc", "repro"], cwd=trial, env=around, process_group=0, **streams)
    while dvc.poll() is None and not any(trial.glob(mark)):
        time.sleep(0.001)
    while moment == STORING and dvc.poll() is None and psutil.Process(dvc.pid).children():
        time.sleep(0.001)
    time.sleep(delay)
    was_at_work = dvc.poll() is None
    if was_at_work:
        WAYS[way](dvc)
        dvc.wait()
    return was_at_work


def repro(trial: Path) -> tuple[subprocess.CompletedProcess, bool]:
    """`dvc repro`, and whether it needed what `make repro` does first: a kill while DVC wrote its own files."""
    again = run_in(trial, "dvc", "repro", check=False)
    if again.returncode == 0:
        return again, False
    print(again.stderr.strip())
    run_in(trial, "python", "-m", "pipeline.recover")
    return run_in(trial, "dvc", "repro"), True


def faults(trial: Path, stage: str, printed: str, expected: Undisturbed) -> list[str]:
    """What is not as it would be without the kill. printed: by the killed stage and by the one that went on."""
    found = outputs(trial)
    differing = [f"{path} differs" for path in expected.md5s if found.get(path) != expected.md5s[path]]
    epochs = re.findall(r"\w+ epoch \d+/", printed)
    repeated = [f"{epoch} twice" for epoch in set(epochs) if epochs.count(epoch) > 1]
    left = [f"{path.name} is left" for path in trial.glob(".training/*")]
    task = stage.rpartition("_")[2]
    return differing + repeated + left + (store_faults(trial, task) if task in TASKS else [])


def store_faults(repository: Path, task: str) -> list[str]:
    """The store has one finished run, with each epoch once, the test metrics, and one model, which is a version.

    No run in it seems to be at work.
    """
    client = mlflow.MlflowClient(f"sqlite:///{repository}/mlflow.db")
    experiments = [found.experiment_id for found in client.search_experiments()]
    if at_work := client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        return [f"{len(at_work)} runs seem to be at work"]
    runs = finished_runs(repository)
    if len(runs) != 1:
        return [f"{len(runs)} finished runs"]
    steps = [point.step for point in client.get_metric_history(runs[0].info.run_id, "loss")]
    wrong = [] if sorted(steps) == list(range(1, len(steps) + 1)) else [f"epochs {steps} in MLflow"]
    measured = json.loads((repository / METRICS / f"{task}.json").read_text())
    wrong += [f"{name} in MLflow" for name, value in measured.items() if runs[0].data.metrics[f"test_{name}"] != value]
    models = [f"models:/{model.model_id}" for model in client.search_logged_models(experiments)]
    versions = [version.source for version in client.search_model_versions()]
    return wrong + ([] if len(models) == 1 and versions == models else [f"models {models}, versions {versions}"])


def trial_of(stage: str, moment: str, way: str, delay: float, base: Path, expected: Undisturbed) -> dict[str, bool]:
    """Kill and go on, in a folder beside `base`: the COUNTS of this trial."""
    trial = without(stage, base, base.with_name("trial"))
    was_at_work = kill(trial, stage, moment, way, delay)
    again, is_mended = repro(trial)
    found = faults(trial, stage, (trial / "killed.log").read_text() + again.stdout, expected)
    print(f"{stage}, {moment} + {delay:.2f} s, {way}: {'; '.join(found) or 'identical'}", flush=True)
    return dict(zip(COUNTS, (was_at_work, was_at_work and not found, is_mended), strict=True))


def run_trials(base: Path, kills: int, chance: random.Random) -> pd.DataFrame:
    """Every moment of every stage as often as any other, and the ways in turn."""
    moments = [(stage, moment) for stage, marks in MOMENTS.items() for moment in (RANDOM, *marks)]
    expected: dict[str, Undisturbed] = {}
    rows = []
    for k in range(kills):
        (stage, moment), way = moments[k % len(moments)], list(WAYS)[(k + k // len(moments)) % len(WAYS)]
        if stage not in expected:
            expected[stage] = undisturbed(stage, base, base.with_name("trial"))
        span = {RANDOM: expected[stage].seconds, STORING: 0.15}.get(moment, 0.05)
        done = trial_of(stage, moment, way, chance.uniform(0, span), base, expected[stage])
        rows.append({"stage": stage, "moment": moment, "way": way} | done)
    return pd.DataFrame(rows)


def main() -> None:
    """Exit 1 if a trial did not end as without the kill."""
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
        trials = run_trials(base, given.kills, random.Random(given.seed))
    for groups in (["stage", "moment"], ["way"]):
        print(trials.groupby(groups, sort=False)[COUNTS].sum().reset_index().to_markdown(index=False), end="\n\n")
    sys.exit(0 if trials["identical ends"].equals(trials["kills"]) else 1)


if __name__ == "__main__":
    main()
