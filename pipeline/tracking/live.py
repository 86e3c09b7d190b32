"""The run that people watch while a training is at work. It is best effort: the real run replaces it (record.py)."""

import logging
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import time
from types import TracebackType
from typing import Any

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import Metric, Param
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from pipeline.paths import root
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Origin
from pipeline.tracking.store import StoreError, connect, delete_run, idempotent, search, store_faults, store_lock

LIVE = "live"  # the tag of such a run: machine and lock of its training
logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # lines of INFO, and of a store that is away


class LiveRun:
    """A run with the epochs so far. Left by Ctrl-C or SIGTERM it ends KILLED, by an error FAILED.

    lock: the held lock of the training's state. history: the epochs of earlier sessions, whose run this one replaces.
    Raises StoreError if the store cannot be used at the start, before hours of training.
    """

    def __init__(
        self, task: str, params: dict[str, Any], data_md5: str, origin: Origin, lock: FileLock, history: list[dict]
    ):
        self.lock = Path(lock.lock_file)
        tags = {"data_md5": data_md5, LIVE: place_of(self.lock)} | origin.tags
        with store_faults(), store_lock():
            idempotent(clear_live_runs)(self.lock.name)
            client, name = mlflow.MlflowClient(), f"{params['architecture']} (live)"
            self.run_id = client.create_run(connect(task), tags=tags, run_name=name).info.run_id
            client.log_batch(self.run_id, params=run_params(params))
        self.monitor = SystemMetricsMonitor(self.run_id)  # not public: the public way needs MLflow's active run
        self.monitor.start()
        self.logged = 0  # epochs
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.attempt: Future[None] | None = None
        self.log_later(history)

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        ending = Thread(target=self.monitor.finish, daemon=True)  # beside the worker: it waits for the store, too
        ending.start()
        self.worker.shutdown()
        ending.join(2)  # seconds; of a store that answers it takes none
        if kind is not None:
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
            with without_store(), store_faults():
                mlflow.MlflowClient().set_terminated(self.run_id, status)

    def log_later(self, history: list[dict[str, float]]) -> None:
        """Log the epochs that the store lacks, beside the training: a slow or absent store does not hold it up."""
        if self.attempt is None or self.attempt.done():
            self.attempt = self.worker.submit(self._try_to_log, list(history))

    def _try_to_log(self, history: list[dict[str, float]]) -> None:
        try:
            with store_faults():
                for row in history[self.logged :]:
                    mlflow.MlflowClient().log_batch(self.run_id, metrics=epoch_metrics(row))
                    self.logged += 1
        except Exception as error:  # nobody asks this thread for its result
            print(f"warning: {error!r}; the training goes on", file=sys.stderr)


def place_of(lock: Path) -> str:
    """Return the tag of a run that is at work as long as a lock is held."""
    return f"{socket.gethostname()}:{lock.resolve()}"


def run_params(params: dict[str, Any]) -> list[Param]:
    """Return the parameters of a run."""
    return [Param(name, str(value)) for name, value in params.items()]


def epoch_metrics(row: dict[str, float]) -> list[Metric]:
    """Return the metrics of one epoch; the step is the epoch, from 1."""
    names = [name for name in row if name != "epoch"]
    return [Metric(name, float(row[name]), int(time() * 1000), int(row["epoch"])) for name in names]


def system_metrics(task: str, replaced: str) -> list[Metric]:
    """Return what MLflow measured of the machine, every 10 s, in the last session of the training that is replaced."""
    client, runs = mlflow.MlflowClient(), search(task, f"tags.{LIVE} LIKE '%/{replaced}'") if replaced else []
    names = [(run.info.run_id, name) for run in runs for name in run.data.metrics if name.startswith("system/")]
    return [point for run_id, name in names for point in client.get_metric_history(run_id, name)]


def clear_live_runs(replaced: str = "") -> None:
    """End the live runs of this repository that no process works at. Delete those whose training left no state.

    A state goes once DVC has what the training made; until then an interrupted run shows its epochs. replaced: the name
    of a lock, whose runs are deleted, those of other machines, too. The caller holds the store's lock.
    """
    for task in TASKS:
        for run in search(task, f"attributes.status != 'FINISHED' and tags.{LIVE} != ''"):
            host, _, path = run.data.tags[LIVE].partition(":")
            lock = Path(path)
            if lock.name == replaced:
                delete_run(run)
            elif host == socket.gethostname() and lock.parent == root() / ".training" and not _is_held(lock):
                if not lock.with_suffix(".npz").exists():
                    delete_run(run)
                elif run.info.status == "RUNNING":
                    mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")


def _is_held(lock: Path) -> bool:
    with suppress(Timeout, PermissionError):  # of another user
        if lock.exists():
            FileLock(lock, blocking=False).acquire().lock.release()
        return False
    return True


@contextmanager
def without_store() -> Iterator[None]:
    """Go on with a warning if the store cannot be used: it does not decide over a stage."""
    try:
        yield
    except StoreError as error:
        print(f"warning: {error}; `python -m pipeline.tracking sync` writes what is missing, later", file=sys.stderr)
