"""Projects in temporary folders: tiny parameters, prepared pictures of a few pixels, and commands run in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import yaml
from mlflow.entities import Run

REPOSITORY = Path(__file__).resolve().parents[2]
# What changes where a stage reads and writes, or what its run says of how it came about.
FROM_OUTSIDE = (
    *("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "PYTHONPATH", "PETS_SOURCE"),
    *("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "PETS_DATASET"),
)


def write_params(folder: Path, **changes: dict) -> None:
    """The committed dvc.yaml, and params.yaml with some keys of some sections changed."""
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for section, keys in changes.items():
        params[section] |= keys
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def tiny(**changes: dict) -> dict:
    """Parameters for a training of a second."""
    training = {"epochs": 3, "batch_size": 4, "augmentation": "none"}
    sections = {
        "train_segmenter": training,
        "train_classifier": training | {"architecture": "residual"},
        "evaluate_segmenter": {"bootstrap_samples": 100, "grid_pictures": 2},
        "evaluate_classifier": {"bootstrap_samples": 100, "grid_pictures": 2},
    }
    for section, keys in changes.items():
        sections[section] = sections[section] | keys
    return sections


def write_prepared(folder: Path, task: str, train: int = 10) -> None:
    """What preprocess writes for a task: 10 train, 4 validation and 6 test pictures of 16 x 16 random pixels."""
    rng = np.random.default_rng(7)
    split = ["train"] * train + ["validation"] * 4 + ["test"] * (16 - train)
    species = ["cat", "dog"] * 10
    target = folder / "data/prepared" / task
    target.mkdir(parents=True)
    stems = [f"pet_{k}" for k in range(20)]
    samples = pd.DataFrame({"stem": stems, "species": species, "breed": "pet", "split": split})
    samples.to_csv(target / "samples.csv", index=False)
    np.save(target / "images.npy", rng.integers(0, 256, (20, 16, 16, 3), np.uint8))
    masks, labels = rng.integers(0, 3, (20, 16, 16), np.uint8), np.array([0, 1] * 10, np.uint8)[:, None]
    np.save(target / "targets.npy", masks if task == "segmenter" else labels)


def environment() -> dict[str, str]:
    """This Python's programs and this work tree's modules first, and neither a store nor a source from outside."""
    kept = {name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run_in(folder: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a folder, without a terminal. variables: of its environment."""
    around = environment() | variables
    done = subprocess.run(command, cwd=folder, env=around, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def commit_all(folder: Path, message: str) -> None:
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", message)


def init_git(folder: Path) -> None:
    """Make a folder a Git repository on the branch main, with an author."""
    run_in(folder, "git", "init", "--quiet", "--initial-branch=main")
    run_in(folder, "git", "config", "user.name", "test")
    run_in(folder, "git", "config", "user.email", "test@example.org")


def make_repository(folder: Path, **changes: dict) -> None:
    """A Git and DVC repository of the work tree's files, tiny parameters, embedded pets; one commit, nothing run."""
    files = run_in(REPOSITORY, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in filter(lambda name: (REPOSITORY / name).is_file(), files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    sizes = {"segmenter_size": 16, "classifier_size": 16, "validation_fraction": 0.2}
    write_params(folder, download={"dataset": "embedded"}, preprocess=sizes, **tiny(**changes))
    init_git(folder)
    commit_all(folder, "the project")


def start_stage(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    """Start `python -m pipeline.STAGE ...` of this work tree in another folder; its lines come as they are printed.

    variables: of its environment; the store that the test has chosen is in it.
    """
    store = {name: os.environ[name] for name in ("MLFLOW_TRACKING_URI",) if name in os.environ}
    stage = (sys.executable, "-m", f"pipeline.{arguments[0]}", *arguments[1:])
    return start_in(folder, *stage, **({"PYTHONPATH": str(REPOSITORY)} | store | variables))


def start_in(folder: Path, *command: str, **variables: str) -> subprocess.Popen:
    """Start a command in a folder; its lines come as they are printed. variables: of its environment."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    around = environment() | {"PYTHONUNBUFFERED": "1"} | variables
    return subprocess.Popen(command, cwd=folder, env=around, text=True, **streams)


def clone_of(repository: Path, folder: Path) -> Path:
    """A copy of a repository with its DVC cache and all its refs, without its MLflow store."""
    unwanted = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "mlruns", "tmp")
    return Path(shutil.copytree(repository, folder, symlinks=True, ignore=unwanted))


def finished_runs(folder: Path) -> list[Run]:
    """The finished runs in a repository's own store, both tasks', the oldest first."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments(filter_string="name LIKE 'pets-%'")]
    return client.search_runs(experiments, "attributes.status = 'FINISHED'", order_by=["attributes.start_time ASC"])
