"""Read-only folders, another user, two at once: one line, and nothing is lost."""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from pipeline.evaluate import evaluate
from pipeline.paths import MODELS
from pipeline.train import train
from tests.helpers.colourmodels import write_classifier
from tests.helpers.disks import read_only
from tests.helpers.project import REPOSITORY, clone_of, finished_runs, run_in
from tests.helpers.training import write_outputs
from tests.test_full_disk import line_of

pytestmark = pytest.mark.slow

LOCKED = "Read-only file system; make it writable and run again"
READER = "+dac_read_search"  # as root it may read everything: this Python may lie in root's folder
ANYONE = ("setpriv", "--reuid=65534", "--clear-groups", f"--inh-caps={READER}", f"--ambient-caps={READER}")


@pytest.mark.parametrize(
    ("stage", "place", "named"),
    [
        (train, ".training", r"/.*/\.training/classifier-\w+\.lock"),
        (train, "data/models", "data/models/.draft-classifier.keras"),
        (evaluate, "data/plots", "data/plots/.draft-classifier"),
    ],
)
def test_a_read_only_folder_is_one_line(prepared: Path, stage: Callable[[str], None], place: str, named: str) -> None:
    write_outputs("classifier")
    if stage is evaluate:
        write_classifier(MODELS / "classifier.keras", 16)
    with read_only(Path(place)):
        assert re.fullmatch(f"{named}: {LOCKED}", line_of(stage, "classifier"))


def test_another_user_is_told_in_one_line_which_file_it_cannot_write(prepared: Path) -> None:
    (prepared / "data").chmod(0o555)
    user = ANYONE if os.geteuid() == 0 else ()
    command = (*user, sys.executable, "-m", "pipeline.download")
    done = run_in(prepared, *command, check=False, PYTHONPATH=str(REPOSITORY))
    refused = f"{prepared}/data/.download.lock: Permission denied; give this user access and run again"
    assert (done.returncode, done.stderr) == (1, f"download: {refused}\n")


def test_of_two_dvc_repro_and_an_experiment_with_the_same_training_at_once_one_trains(
    repository: Path, tmp_path: Path
) -> None:
    """What works in another folder waits, and has the result, too. What works in the same folder DVC sends away."""
    folder = clone_of(repository, tmp_path / "clone")
    rwlock, same = folder / ".dvc/tmp/rwlock", {"seed": 5, "epochs": 12}
    changes = [f"--set-param=train_classifier.{name}={value}" for name, value in same.items()]
    repro = ("dvc", "repro", "--single-item", "train_classifier")
    with ThreadPoolExecutor() as pool:
        temporary = ("dvc", "exp", "run", "--temp", "--name", "beside", *changes, "--single-item", "train_classifier")
        beside = pool.submit(run_in, folder, *temporary)
        wait_until(lambda: list((folder / ".training").glob("classifier-*.npz")))
        params = yaml.safe_load((folder / "params.yaml").read_text())
        params["train_classifier"] |= same
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        here = pool.submit(run_in, folder, *repro)
        wait_until(lambda: rwlock.exists() and "data/models" in rwlock.read_text())
        sent_away = run_in(folder, *repro, check=False)
    assert sent_away.returncode != 0
    assert "is busy, it is being blocked by" in sent_away.stderr
    printed = [beside.result().stdout, here.result().stdout]
    assert [text.count("epoch ") for text in printed] == [12, 0]

    experiment = run_in(folder, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/beside").stdout.strip()
    lock = run_in(folder, "git", "show", f"{experiment}:dvc.lock").stdout
    locks = [yaml.safe_load(text)["stages"]["train_classifier"] for text in (lock, (folder / "dvc.lock").read_text())]
    assert locks[0] == locks[1]
    assert [run.data.params["seed"] for run in finished_runs(folder)] == ["5"]
    assert not any(json.loads(rwlock.read_text()).values()), "nothing is left locked"
    assert "didn't change, skipping" in run_in(folder, *repro).stdout


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
