"""Runs: one for each training, live while it works, completed from what the training left."""

import json
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import time
from types import TracebackType

import mlflow
import pandas as pd
from filelock import FileLock, Timeout
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.tracking.context.registry import resolve_tags

from pipeline.stage import HISTORY, MODELS, PREPARED, root
from pipeline.tracking.lineage import Training, origin_tags
from pipeline.tracking.revisions import uncommitted
from pipeline.tracking.search import drop_repeat, search, settle_training
from pipeline.tracking.serving import log_model
from pipeline.tracking.store import StoreError, connect, store_faults, store_lock

GIT_COMMIT = "mlflow.source.git.commit"
PLACE = "started_in"


class TrackedRun:
    """A run at work. Left by Ctrl-C or SIGTERM it ends KILLED, by an error FAILED.

    Raises filelock's Timeout if another process is at work at it.
    """

    def __init__(self, training: Training, run_id: str):
        self.training, self.run_id = training, run_id
        self.lock, self.note = local_file(run_id, "lock"), local_file(run_id, "json")
        self.alive = FileLock(self.lock)
        self.alive.acquire(blocking=False)
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.attempt: Future[None] | None = None

    def __enter__(self) -> "TrackedRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.worker.shutdown()
        if kind is not None:
            self._end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")
        self.alive.release()

    def _end(self, status: str) -> None:
        """Where the store cannot be reached, the next start ends the run."""
        try:
            with store_faults():
                mlflow.MlflowClient().set_terminated(self.run_id, status)
            self.lock.unlink(missing_ok=True)
        except StoreError as error:
            warn(error)

    def log_later(self, history: list[dict[str, float]]) -> None:
        """Log the epochs that the store lacks, beside the training: a slow or absent store does not hold it up."""
        if self.attempt is None or self.attempt.done():
            self.attempt = self.worker.submit(self._try_to_log, list(history))

    def _try_to_log(self, history: list[dict[str, float]]) -> None:
        try:
            with store_faults():
                self._log_history(history)
        except StoreError as error:
            print(f"warning: {error}; the training goes on", file=sys.stderr)

    def _log_history(self, history: list[dict[str, float]]) -> None:
        """One request for each epoch: step is the epoch, from 1."""
        client = mlflow.MlflowClient()
        logged = {point.step for point in client.get_metric_history(self.run_id, "loss")}
        for row in history:
            values = {name: value for name, value in row.items() if name != "epoch"}
            if row["epoch"] not in logged:
                client.log_batch(self.run_id, metrics=measured(values, step=int(row["epoch"])))

    def finish(self) -> None:
        """Complete the run from the training's outputs. Where the store cannot be used, note their md5s for `sync`."""
        self.worker.shutdown()
        self.training = self.training.finished()
        try:
            self.complete(Path())
        except StoreError as error:
            self.note.write_text(json.dumps(self.training.tags))
            warn(error)

    def complete(self, folder: Path) -> None:
        """Log what a training left in a folder laid out like the repository: history, best epoch, checkpoint, md5s.

        A training that gave what an earlier one gave has its run already: this one is deleted. Raises StoreError.
        """
        with store_faults(), store_lock():
            if earlier := settle_training(self.training):
                drop_repeat(self.run_id, earlier.info.run_id)
            else:
                self._log_outputs(folder)
            self.note.unlink(missing_ok=True)
            self.lock.unlink(missing_ok=True)

    def _log_outputs(self, folder: Path) -> None:
        task = self.training.task
        history = pd.read_csv(folder / HISTORY / f"{task}.csv")
        self._log_history(history.to_dict("records"))
        best = history.loc[history["val_loss"].idxmin()]
        # What the UI shows of val_loss is the last epoch's; the model is the best epoch's.
        names = {"best_epoch": "epoch", "best_val_loss": "val_loss", "best_val_accuracy": "val_accuracy"}
        values = {name: float(best[column]) for name, column in names.items()}
        with mlflow.start_run(run_id=self.run_id):  # ends FINISHED
            mlflow.MlflowClient().log_batch(self.run_id, metrics=measured(values))
            log_model(task, folder / MODELS / f"{task}.keras")
            mlflow.set_tags(self.training.tags)


def local_file(run_id: str, kind: str) -> Path:
    """What this repository knows of a run: RUN_ID.lock, held while it is at work; RUN_ID.json, see `finish`."""
    return root() / ".training" / f"{run_id}.{kind}"


def place() -> str:
    """This repository on this machine: whose runs may be closed from here."""
    return f"{socket.gethostname()}:{root()}".replace("'", "_")  # the filter language knows no quote in a quote


def warn(error: StoreError) -> None:
    """The store does not decide over a training: `sync` writes what it lacks from DVC's outputs."""
    print(f"warning: {error}; `python -m pipeline.tracking sync` writes what is missing, later", file=sys.stderr)


def measured(values: dict[str, float], step: int = 0, model_id: str | None = None) -> list[Metric]:
    """Metrics with the present time, of a logged model where one is named."""
    return [Metric(name, value, int(time() * 1000), step, model_id=model_id) for name, value in values.items()]


def open_run(training: Training, device: str, run_id: str | None = None) -> TrackedRun:
    """The run of a training that starts or goes on: `run_id` if the store has it, else a new one.

    device: what it computes on, for people. Raises StoreError if the store cannot be used.
    """
    connect(training.task)
    with store_faults(), store_lock():
        close_dead_runs(training.task)
        return resume_run(training, run_id) or start_run(training, origin_tags() | {"device": device})


def close_dead_runs(task: str) -> None:
    """End the runs of this repository whose process went without ending them: killed, or without a store."""
    for run in search(task, f"attributes.status = 'RUNNING' and tags.{PLACE} = '{place()}'"):
        lock = local_file(run.info.run_id, "lock")
        if not local_file(run.info.run_id, "json").exists():
            with suppress(Timeout), FileLock(lock, blocking=False):
                mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")
                lock.unlink()


def resume_run(training: Training, run_id: str | None) -> TrackedRun | None:
    """Set a run going again, if there is one, the store still has it, and it is not finished."""
    unfinished = f"attributes.run_id = '{run_id}' and attributes.status != 'FINISHED'"
    if run_id is None or not search(training.task, unfinished):
        return None
    mlflow.MlflowClient().update_run(run_id, status="RUNNING")
    return TrackedRun(training, run_id)


def start_run(training: Training, tags: dict[str, str], folder: Path = Path()) -> TrackedRun:
    """A new run with what is known before a training: parameters, data, tags, and how the code differs from its commit.

    folder: laid out like the repository, with the prepared samples. Where the tags do not name the code's commit it is
    HEAD, with the artifact uncommitted.patch if files that decide a training have been changed since.
    """
    client = mlflow.MlflowClient()
    name = " ".join(filter(None, (training.params["architecture"], tags.get("dvc_experiment"))))
    files, patch = ([], "") if GIT_COMMIT in tags else uncommitted()
    tags = resolve_tags() | training.tags | {PLACE: place()} | tags
    if files:
        tags["uncommitted"] = ", ".join(files)
    run_id = client.create_run(connect(training.task), tags=tags, run_name=name).info.run_id
    tracked = TrackedRun(training, run_id)
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in training.params.items()])
    client.log_inputs(run_id, [_dataset(training, folder)])
    if patch:
        client.log_text(run_id, patch, "uncommitted.patch")
    return tracked


def _dataset(training: Training, folder: Path) -> DatasetInput:
    """The prepared pictures: the table of samples, under the md5 by which DVC has all of them."""
    samples = pd.read_csv(folder / PREPARED / training.task / "samples.csv", keep_default_na=False)
    source = LocalArtifactDatasetSource((root() / PREPARED / training.task).as_uri())
    data = mlflow.data.from_pandas(samples, source=source, name=f"pets-{training.task}", digest=training.data_md5)
    return DatasetInput(Dataset.from_dictionary(data.to_dict()), [InputTag("mlflow.data.context", "training")])
