"""A run at work: it logs beside the training, and is completed from what the training left."""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import time
from types import TracebackType

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.entities import Metric

from pipeline.paths import HISTORY, MODELS, root
from pipeline.tracking.lineage import Training
from pipeline.tracking.search import drop_repeat, models_of, settle_training
from pipeline.tracking.serving import log_model
from pipeline.tracking.store import StoreError, store_faults, store_lock


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
        """A run that is complete already stays so. Where the store cannot be reached, the next start ends the run."""
        try:
            with store_faults():
                client = mlflow.MlflowClient()
                if client.get_run(self.run_id).info.status not in ("FINISHED", "KILLED"):  # KILLED is a repeat, deleted
                    client.set_terminated(self.run_id, status)
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
            earlier = settle_training(self.training)
            if earlier is None:
                self._log_outputs(folder)
            elif earlier.info.run_id != self.run_id:  # else it was killed after this
                drop_repeat(self.run_id, earlier.info.run_id)
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
        client = mlflow.MlflowClient()
        for part in models_of(self.run_id, task):  # that a kill left
            client.delete_logged_model(part)
        with mlflow.start_run(run_id=self.run_id):  # ends FINISHED
            client.log_batch(self.run_id, metrics=measured(values))
            log_model(task, folder / MODELS / f"{task}.keras")
            mlflow.set_tags(self.training.tags)


def local_file(run_id: str, kind: str) -> Path:
    """What this repository knows of a run: RUN_ID.lock, held while it is at work; RUN_ID.json, see `finish`."""
    return root() / ".training" / f"{run_id}.{kind}"


def warn(error: StoreError) -> None:
    """The store does not decide over a training: `sync` writes what it lacks from DVC's outputs."""
    print(f"warning: {error}; `python -m pipeline.tracking sync` writes what is missing, later", file=sys.stderr)


def measured(values: dict[str, float], step: int = 0, model_id: str | None = None) -> list[Metric]:
    """Metrics with the present time, of a logged model where one is named."""
    return [Metric(name, value, int(time() * 1000), step, model_id=model_id) for name, value in values.items()]
