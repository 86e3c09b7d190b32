"""Runs: started for a training, resumed, or ended for one that died."""

from contextlib import suppress
from pathlib import Path

import mlflow
import pandas as pd
from filelock import FileLock, Timeout
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Dataset, DatasetInput, InputTag, Param
from mlflow.tracking.context.registry import resolve_tags

from pipeline.paths import PREPARED, root
from pipeline.revisions import uncommitted
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import GIT_COMMIT, Training, origin_tags
from pipeline.tracking.search import search
from pipeline.tracking.store import connect, store_faults, store_lock
from pipeline.tracking.tracked import TrackedRun, local_file


def open_run(training: Training, device: str, run_id: str | None = None) -> TrackedRun:
    """The run of a training that starts or goes on: `run_id` if the store has it, else a new one.

    device: what it computes on, for people. Raises StoreError if the store cannot be used.
    """
    with store_faults(), store_lock():
        close_dead_runs()
        return resume_run(training, run_id) or start_run(training, origin_tags() | {"device": device})


def close_dead_runs() -> None:
    """End the runs of this repository whose process went without ending them: killed, or without a store."""
    for run in (run for task in TASKS for run in search(task, "attributes.status = 'RUNNING'")):
        lock = local_file(run.info.run_id, "lock")
        if lock.exists():  # else it is at work elsewhere
            with suppress(Timeout), FileLock(lock, blocking=False):
                mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")
                lock.unlink()


def resume_run(training: Training, run_id: str | None) -> TrackedRun | None:
    """Set a run going again, if there is one and the store still has it. A finished one stays so."""
    found = search(training.task, f"attributes.run_id = '{run_id}'") if run_id else []
    if not found:
        return None
    if found[0].info.status != "FINISHED":
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
    tags = resolve_tags() | {"mlflow.source.name": "pipeline/train.py"} | training.tags | tags
    if files:
        tags["uncommitted"] = ", ".join(files)
    run_id = client.create_run(connect(training.task), tags=tags, run_name=name).info.run_id
    tracked = TrackedRun(training, run_id)
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in training.params.items()])
    client.log_inputs(run_id, _datasets(training, folder))
    if patch:
        client.log_text(run_id, patch, "uncommitted.patch")
    return tracked


def _datasets(training: Training, folder: Path) -> list[DatasetInput]:
    """The pictures of two splits: the table of samples, under the md5 by which DVC has the prepared pictures of all."""
    samples = pd.read_csv(folder / PREPARED / training.task / "samples.csv", keep_default_na=False)
    source = LocalArtifactDatasetSource((root() / PREPARED / training.task).as_uri())
    inputs = []
    for split, context in (("train", "training"), ("validation", "validation")):
        rows, name = samples[samples["split"] == split], f"pets-{training.task} {split}"
        data = mlflow.data.from_pandas(rows, source=source, name=name, digest=training.data_md5)
        inputs.append(DatasetInput(Dataset.from_dictionary(data.to_dict()), [InputTag("mlflow.data.context", context)]))
    return inputs
