"""The store: where it is, its experiments, its lock, and one line for whatever keeps it from being used."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import wraps
from pathlib import Path
from random import random
from textwrap import shorten
from time import sleep
from typing import Any

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import InputError
from pipeline.paths import root

MODEL = "model"  # the name of every checkpoint in its run
# What one of two machines at once gets: there by now, gone by now. Tried with MLflow 3.17.2's server on PostgreSQL.
CONFLICT = "(?i)unique|duplicate|RESOURCE_ALREADY_EXISTS|RESOURCE_DOES_NOT_EXIST|alias .+ not found|'active' state"
# It logs a fault of the database with a traceback, then raises it: `store_faults` makes one line of that.
logging.getLogger("mlflow.store.db.utils").addFilter(lambda entry: entry.levelno < logging.ERROR)


class StoreError(InputError):
    """The store cannot be used, or not now."""


def store_uri() -> str:
    """Return MLFLOW_TRACKING_URI if set, else mlflow.db in the root, where a relative path starts, too."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    relative = re.fullmatch(r"(sqlite:///|file:|(?![\w+.-]+:))([^/].*)", given)
    if relative is None:
        return given
    path = root() / relative[2]
    return f"sqlite:///{path}" if relative[1] == "sqlite:///" else path.as_uri()


def _database() -> Path:
    """Return the sqlite file; for a store elsewhere, what would be the file here."""
    if store_uri().startswith("sqlite:///"):
        return Path(make_url(store_uri()).database).resolve()
    return root() / "mlflow.db"


def store_lock() -> FileLock:
    """Return the lock for making the store, and for looking for runs and versions before making them.

    Processes that make the tables of a new sqlite file at once corrupt it: its lock lies beside it. The holder can take
    the lock again.
    """
    return FileLock(f"{_database()}.lock", is_singleton=True)


@contextmanager
def store_faults(*others: type[Exception]) -> Iterator[None]:
    """Turn what MLflow, its database or the network raise into a StoreError of one short line. others: these, too."""
    try:
        yield
    except Timeout:
        raise  # another process holds a lock
    except Exception as error:  # itself is what MLflow's store of files raises
        if not isinstance(error, (MlflowException, SQLAlchemyError, OSError, *others)) and type(error) is not Exception:
            raise
        reason, cause = error, error.__context__
        while cause is not None:  # the system's own words, which MLflow wraps in names of classes and addresses
            reason, cause = cause if isinstance(cause, OSError) else reason, cause.__context__
        lines = [line for line in str(reason).strip().splitlines() if not line.startswith("(raised as a result of")]
        said = shorten((lines or [type(reason).__name__])[0], 200)
        raise StoreError(f"the MLflow store {store_uri()} cannot be used: {said}") from None


def idempotent(write: Callable) -> Callable:
    """Have a function called again where another machine wrote the same in that moment.

    Only the outermost function is made so: nested ones would multiply their attempts.
    """

    @wraps(write)
    def patient(*arguments: Any) -> Any:
        for attempt in range(4):
            try:
                return write(*arguments)
            except MlflowException as error:
                if attempt == 3 or not re.search(CONFLICT, f"{error.error_code}: {error}"):
                    raise
                sleep(2**attempt * random())

    return patient


def connect(task: str) -> str:
    """Point MLflow to the store, make the task's experiment if there is none, and return the experiment's id.

    Artifacts lie in mlartifacts/ beside the sqlite file, by its absolute path, or where an MLflow server puts them.
    Raises StoreError for a store that cannot be used or was moved, or an experiment that was deleted.
    """
    name = f"pets-{task}"
    mlflow.set_tracking_uri(store_uri())
    # The experiment Default gets its artifact place from the folder in which a new store is first used.
    # ImportError: the database's driver; ValueError: an address that is none.
    with store_faults(ImportError, ValueError), store_lock(), chdir(root()):
        _make_tables()
        experiment = mlflow.get_experiment_by_name(name) or _make_experiment(name)
    if experiment.lifecycle_stage == "deleted":
        command = f"mlflow experiments restore -x {experiment.experiment_id}"
        raise StoreError(f"the MLflow experiment {name} was deleted; `{command}` brings it back")
    place = experiment.artifact_location
    if store_uri().startswith("sqlite:///") and place.startswith("file:") and place != _artifacts():
        remedy = "put it back, or remove it and let `python -m pipeline.tracking sync --all-commits` write a new one"
        raise StoreError(f"{_database()} was moved or copied, its artifacts are in {place}; {remedy}")
    return experiment.experiment_id


def search(task: str, condition: str = "", view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """Return the runs of a task that fulfil a condition in MLflow's filter language, the oldest first."""
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    return mlflow.search_runs([connect(task)], condition, view, order_by=order, output_format="list")


def model_of(run_id: str, task: str) -> str:
    """Return the id of the checkpoint that was logged to a run.

    Raises StoreError if a person deleted it, or logged a second one.
    """
    condition = f"source_run_id = '{run_id}' AND name = '{MODEL}'"  # a person may have logged another beside it
    found = mlflow.MlflowClient().search_logged_models([connect(task)], condition)
    if len(found) != 1:
        remedy = "delete the run, and `python -m pipeline.tracking sync --all-commits` writes it anew"
        raise StoreError(f"the MLflow run {run_id} has {len(found)} models named {MODEL}, not 1; {remedy}")
    return found[0].model_id


def delete_run(run: Run) -> None:
    """Delete a run, and the models that were logged to it: MLflow leaves those."""
    client = mlflow.MlflowClient()
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"):
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)


def _make_tables() -> None:
    """Name a new sqlite file when it is whole: MLflow cannot open one whose making was killed."""
    if store_uri().startswith("sqlite:///") and not _database().exists():
        draft = _database().with_name(f"{_database().name}.draft")
        for ending in ("", "-journal", "-wal", "-shm"):  # sqlite would play what a kill left back into the next draft
            Path(f"{draft}{ending}").unlink(missing_ok=True)
        mlflow.MlflowClient(f"sqlite:///{draft}").search_experiments()
        draft.replace(_database())


def _artifacts() -> str:
    return (_database().parent / "mlartifacts").as_uri()


def _make_experiment(name: str) -> mlflow.entities.Experiment:
    try:
        mlflow.create_experiment(name, None if store_uri().startswith("http") else _artifacts())
    except MlflowException as error:  # another machine may make it in this moment
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return mlflow.get_experiment_by_name(name)
