"""The run that people watch while a training is at work. It is best effort: `record` replaces it by the real one."""

import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import Metric, Param, Run

from pipeline.paths import PREPARED, root
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Origin
from pipeline.tracking.store import StoreError, connect, search, store_faults, store_lock

LIVE = "live"  # the tag of such a run: machine and lock of its training
UNFINISHED = "attributes.status != 'FINISHED'"


class LiveRun:
    """A run with the epochs so far. Left by Ctrl-C or SIGTERM it ends KILLED, by an error FAILED.

    Raises StoreError if the store cannot be used at the start, before hours of training.
    """

    def __init__(self, task: str, params: dict[str, Any], inputs: dict[str, Any], origin: Origin, lock: FileLock):
        tags = {"data_md5": inputs[str(PREPARED / task)], LIVE: place_of(Path(lock.lock_file))}
        with store_faults(), store_lock():
            close_dead_runs()
            earlier = [run for run in live_runs(task, params, tags["data_md5"]) if run.data.tags[LIVE] == tags[LIVE]]
            self.run_id = _go_on(earlier[0]) if earlier else _start(task, params, tags | origin.tags)
            mlflow.MlflowClient().log_batch(self.run_id, params=run_params(params))
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.attempt: Future[None] | None = None

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.worker.shutdown()
        if kind is not None:
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
            try:
                with store_faults():
                    mlflow.MlflowClient().set_terminated(self.run_id, status)
            except StoreError as fault:
                warn(fault)

    def log_later(self, history: list[dict[str, float]]) -> None:
        """Log the epochs that the store lacks, beside the training: a slow or absent store does not hold it up."""
        if self.attempt is None or self.attempt.done():
            self.attempt = self.worker.submit(self._try_to_log, list(history))

    def _try_to_log(self, history: list[dict[str, float]]) -> None:
        try:
            with store_faults():
                client = mlflow.MlflowClient()
                logged = {point.step for point in client.get_metric_history(self.run_id, "loss")}
                for row in history:
                    if row["epoch"] not in logged:
                        client.log_batch(self.run_id, metrics=epoch_metrics(row))
        except StoreError as error:
            print(f"warning: {error}; the training goes on", file=sys.stderr)


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


def live_runs(task: str, params: dict[str, Any], data_md5: str) -> list[Run]:
    """Return the unfinished runs of trainings with these parameters on these prepared data.

    A kill may have left a run without its parameters: it counts as one of any training.
    """
    wanted = {name: str(value) for name, value in params.items()}
    found = search(task, f"{UNFINISHED} and tags.{LIVE} != '' and tags.data_md5 = '{data_md5}'")
    return [run for run in found if run.data.params in ({}, wanted)]


def is_dead(run: Run) -> bool:
    """Tell whether a live run's training was at work in this repository, and is no more.

    The caller holds the store's lock.
    """
    host, _, path = run.data.tags.get(LIVE, "").partition(":")
    lock = Path(path)
    if host != socket.gethostname() or lock.parent != root() / ".training":
        return False
    with suppress(Timeout):
        if lock.exists():
            FileLock(lock, blocking=False).acquire().lock.release()
        return True
    return False


def close_dead_runs() -> None:
    """End the live runs whose process went without ending them: killed, or without a store."""
    for task in TASKS:
        for run in search(task, f"attributes.status = 'RUNNING' and tags.{LIVE} != ''"):
            if is_dead(run):
                mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")


def _go_on(run: Run) -> str:
    mlflow.MlflowClient().update_run(run.info.run_id, status="RUNNING")
    return run.info.run_id


def _start(task: str, params: dict[str, Any], tags: dict[str, str]) -> str:
    client, name = mlflow.MlflowClient(), f"{params['architecture']} (live)"
    return client.create_run(connect(task), tags=tags, run_name=name).info.run_id


def warn(error: StoreError) -> None:
    """Print that the store lacks something. It does not decide over a stage."""
    print(f"warning: {error}; `python -m pipeline.tracking sync` writes what is missing, later", file=sys.stderr)
