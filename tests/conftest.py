"""Two projects in temporary folders: a prepared one of a few pixels for single stages, a whole one under real DVC."""

import shutil
import signal
from pathlib import Path

import mlflow
import pytest

from pipeline.tasks import TASKS
from tests.helpers.project import FROM_OUTSIDE, commit_all, make_repository, run_in, tiny, write_params, write_prepared
from tests.helpers.serverfixtures import mlflow_server, postgres, server, sshd, store  # noqa: F401

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable says where things are, neither the user's nor one of an earlier test: MLflow sets its own."""
    for name in FROM_OUTSIDE:
        monkeypatch.delenv(name, raising=False)


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
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git and DVC repository of the work tree's files, tiny parameters, the embedded pets; after `dvc repro`.

    Two commits: the files, then what `dvc repro` made of them.
    """
    folder = tmp_path_factory.mktemp("repository")
    make_repository(folder)
    run_in(folder, "dvc", "repro")
    commit_all(folder, "its outputs")
    return folder


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is dear to make, or changed by tests, belongs to one worker of pytest-xdist; the other tests go by file."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        used = [*item.fixturenames, *parameters, item.path.name]
        groups = {"repository": ["repository", "test_serving.py"], "server": ["server"]}
        group = next((name for name, marks in groups.items() if any(mark in used for mark in marks)), item.path.name)
        item.add_marker(pytest.mark.xdist_group(group))
