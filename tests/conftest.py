"""Projects in temporary folders: a prepared one of a few pixels for single stages, a whole one under real DVC."""

import shutil
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock
from sqlalchemy import Engine, event

from pipeline.tasks import TASKS
from tests.helpers.project import (
    FROM_OUTSIDE,
    clone_of,
    commit_all,
    init_git,
    make_repository,
    run_in,
    tiny,
    write_params,
    write_prepared,
)
from tests.helpers.servers import chromium, mlflow_server, postgres, server, sshd, store  # noqa: F401

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable says where things are, neither the user's nor one of an earlier test: MLflow sets its own."""
    for name in FROM_OUTSIDE:
        monkeypatch.delenv(name, raising=False)


@event.listens_for(Engine, "connect")
def write_fast(connection: object, _: object) -> None:
    """A store of a test need not outlive the machine: sqlite leaves it to the system when the disk gets it."""
    if isinstance(connection, sqlite3.Connection):
        with suppress(sqlite3.DatabaseError):  # a file that is none
            connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without experiments of ours: making its tables takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def prepared(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: both tasks prepared, tiny parameters, an empty MLflow store."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    for task in TASKS:
        write_prepared(tmp_path, task)
    write_params(tmp_path, **tiny())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A Git and DVC repository of the work tree's files, tiny parameters, the embedded pets; after `dvc repro`.

    Two commits: the files, then what `dvc repro` made of them. Made once for all workers of pytest-xdist, who read it
    and work in clones: see `clone`.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "repository"
    made = folder.with_suffix(".made")
    with FileLock(f"{folder}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            make_repository(folder)
            run_in(folder, "dvc", "repro")
            commit_all(folder, "its outputs")
            made.touch()
    return folder


@pytest.fixture
def clone(repository: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of the repository after its `dvc repro`, with an empty MLflow store."""
    folder = clone_of(repository, tmp_path / "clone")
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git and DVC repository of one stage: its results in the second commit and in an experiment, `bold`."""
    folder = tmp_path_factory.mktemp("small")
    init_git(folder)
    run_in(folder, "dvc", "init", "--quiet")
    write_params(folder, train_classifier={"learning_rate": 1e-5})  # and this project's dvc.yaml, which is replaced
    copy = "{cmd: cp pipeline/code.py data/out, deps: [pipeline/code.py], outs: [data/out]"
    (folder / "dvc.yaml").write_text(f"stages: {{train: {copy}, params: [train_classifier.learning_rate]}}}}\n")
    for name, text in ((".gitignore", "data/out\n"), ("data/README.md", ""), ("pipeline/code.py", "a = 1\n")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    commit_all(folder, "the files")
    run_in(folder, "dvc", "repro")
    commit_all(folder, "the results")
    run_in(folder, "dvc", "exp", "run", "--name", "bold", "--set-param", "train_classifier.learning_rate=0.5")
    run_in(folder, "git", "checkout", "--quiet", ".")
    return folder


@pytest.fixture
def small_clone(small_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of the small repository."""
    folder = clone_of(small_repository, tmp_path / "clone")
    (folder / ".dvc/tmp/exps").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of an MLflow server, of which there is one, belong to one worker of pytest-xdist; others go by file."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        uses_server = "server" in [*item.fixturenames, *parameters]
        item.add_marker(pytest.mark.xdist_group("server" if uses_server else item.path.name))
