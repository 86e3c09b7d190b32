"""Runs are found by what dvc.lock names, never by an id: a training has one finished run, whatever happened to it."""

import sys
from pathlib import Path

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from pipeline.errors import InputError
from pipeline.inputs import content_md5
from pipeline.revisions import Revision, revision
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Training, evaluation_in_lock, training_in_lock
from pipeline.tracking.serving import MODEL
from pipeline.tracking.store import StoreError, connect, store_uri


class NoModel(StoreError):
    """A run lacks its checkpoint, in one line."""


def search(task: str, condition: str = "", view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """Runs of a task that fulfil a condition in MLflow's filter language, the oldest first."""
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    return mlflow.search_runs([connect(task)], condition, view, order_by=order, output_format="list")


def models_of(run_id: str, task: str) -> list[str]:
    """The ids of the checkpoints that were logged to a run. The run itself keeps naming those that were deleted."""
    condition = f"source_run_id = '{run_id}' AND name = '{MODEL}'"  # a person may have logged another beside it
    return [model.model_id for model in mlflow.MlflowClient().search_logged_models([connect(task)], condition)]


def model_of(run_id: str, task: str) -> str:
    """The id of the one that a finished run has. Raises NoModel if a person deleted it, or logged a second."""
    found = models_of(run_id, task)
    if len(found) != 1:
        remedy = "delete the run, and `python -m pipeline.tracking sync --all-commits` writes it anew"
        raise NoModel(f"the MLflow run {run_id} has {len(found)} models named {MODEL}, not 1; {remedy}")
    return found[0]


def find_training(training: Training) -> Run | None:
    """The finished run of a training, None where there is none."""
    return next(iter(search(training.task, training.condition)), None)


def settle_training(training: Training) -> Run | None:
    """The same, after seeing to it that there is only one. To be called under the store's lock.

    Of several (two machines may end the same training at once) the oldest stays. One that was deleted comes back,
    if it still has its model.
    """
    runs = search(training.task, training.condition)
    for repeat in runs[1:]:
        drop_repeat(repeat.info.run_id, runs[0].info.run_id)
    if not runs:
        deleted = search(training.task, training.condition, ViewType.DELETED_ONLY)
        unrepeated = [run for run in deleted if "repeat_of" not in run.data.tags]
        runs = [run for run in unrepeated if len(models_of(run.info.run_id, training.task)) == 1]
        for run in runs[:1]:
            mlflow.MlflowClient().restore_run(run.info.run_id)
    return runs[0] if runs else None


def drop_repeat(run_id: str, kept: str) -> None:
    """Delete the run of a training that an earlier run has already, and count it there."""
    client = mlflow.MlflowClient()
    client.set_tag(run_id, "repeat_of", kept)
    client.set_terminated(run_id, "KILLED")  # it may lack what a finished run has
    client.delete_run(run_id)
    repeats = int(client.get_run(kept).data.tags.get("repeats", 0)) + 1
    client.set_tag(kept, "repeats", str(repeats))
    print(f"the same training as MLflow run {kept}, which stays the only run of it")


def named_runs(name: str) -> dict[str, list[Run]]:
    """The runs that a name means, by task. Raises InputError if there is none.

    name: a commit, branch or experiment in DVC, for the runs of its checkpoints; a run's id (six characters of it are
    enough), name or experiment; an md5 from dvc.lock; a file such as data/models/classifier.keras; a model in the
    registry: models:/pets-classifier@champion.
    """
    held = revision(name)
    found = _runs_of_revision(held) if held else _runs_with_name(name)
    if not found:
        lacks = "nothing of this revision" if held else "no revision, run id, run name or md5"
        raise InputError(f"{name}: {lacks} in {store_uri()}")
    return found


def _runs_of_revision(held: Revision) -> dict[str, list[Run]]:
    """With a line on stderr where the store lacks a run, or has another evaluation of its checkpoint."""
    found = {}
    for task in TASKS:
        training = training_in_lock(task, held.stages)
        run = find_training(training) if training else None
        if run:
            found[task] = [run]
            if evaluation_in_lock(training, held.stages).items() - run.data.tags.items():
                print(f"{held.name}: {task}: the store has another evaluation of this checkpoint", file=sys.stderr)
        elif training:
            remedy = f"`python -m pipeline.tracking sync {held.name}` writes it"
            print(f"{held.name}: {task}: its run is not in the store; {remedy}", file=sys.stderr)
    return found


def _runs_with_name(name: str) -> dict[str, list[Run]]:
    known = {task: search(task) for task in TASKS}
    wanted = _resolved(name)
    return {task: named for task in TASKS if (named := [run for run in known[task] if wanted in _names(run)])}


def _resolved(name: str) -> str:
    if Path(name).is_file():
        return content_md5(Path(name))
    if name.startswith("models:/"):
        try:
            return mlflow.models.get_model_info(name).run_id
        except MlflowException as error:
            raise InputError(f"{name}: {error}") from None
    return name


def _names(run: Run) -> set[str]:
    md5s = {value for tag, value in run.data.tags.items() if tag.endswith("_md5")}
    ids = {run.info.run_id[:length] for length in range(6, 33)}
    return md5s | ids | {run.info.run_name, run.data.tags.get("dvc_experiment", run.info.run_name)}
