"""Make the store hold what DVC holds: a training's run, its evaluation, its version in the registry."""

import json
from contextlib import suppress
from pathlib import Path

import mlflow
from mlflow.entities import Run

from pipeline.paths import METRICS, PLOTS, root
from pipeline.revisions import work_tree
from pipeline.tracking.lineage import Training, evaluation_in_files, restored_tags, training_in_lock
from pipeline.tracking.registry import register
from pipeline.tracking.runs import resume_run, start_run
from pipeline.tracking.search import drop_repeat, find_training, model_of, search, settle_training
from pipeline.tracking.store import StoreError, connect, store_faults, store_lock
from pipeline.tracking.tracked import local_file, measured, warn
from pipeline.tracking.views import LINKS, experiment_links, experiment_tags, run_links

NOTE = "mlflow.note.content"


def record(training: Training, evaluation: dict[str, str], tags: dict[str, str], folder: Path = Path()) -> None:
    """Write what the store lacks of a finished training and its evaluation, from a folder laid out like the repository.

    evaluation: the md5s of its metrics and plots, as tags; empty where there is none. tags: of the run, if it is made
    here. Raises StoreError.
    """
    with store_faults(), store_lock():
        if settle_training(training) is None:
            with resume_run(training, noted_run(training)) or start_run(training, tags, folder) as tracked:
                tracked.complete(folder)
        run = find_training(training)
        _forget_noted_run(training, run.info.run_id)
        if evaluation.items() - run.data.tags.items():
            _log_evaluation(run, training, evaluation, folder)
        if evaluation:
            register(training.task, mlflow.get_run(run.info.run_id))
        set_view(training.task)


def record_evaluation(training: Training) -> None:
    """Record a training and its evaluation, whose outputs lie in the working directory. Warns if the store is away."""
    try:
        training, here = training.finished(), work_tree()
        locked = training_in_lock(training.task, here.stages)
        if locked and locked.tags == training.tags:
            training = locked  # params.yaml may have been edited since
        record(training, evaluation_in_files(training.task), restored_tags(here, training.task))
    except StoreError as error:
        warn(error)


def is_recorded(training: Training, evaluation: dict[str, str]) -> bool:
    """Whether `record` has nothing to do. Raises StoreError."""
    with store_faults():
        runs = search(training.task, training.condition)
    whole = len(runs) == 1 and not evaluation.items() - runs[0].data.tags.items()
    return whole and noted_run(training) is None


def noted_run(training: Training) -> str | None:
    """The run that a training of this repository could not complete, because the store was away."""
    for note in (root() / ".training").glob("*.json"):
        with suppress(ValueError):  # a kill in the middle of writing it
            if json.loads(note.read_text()) == training.tags:
                return note.stem
    return None


def _forget_noted_run(training: Training, kept: str) -> None:
    """Delete the run that waited to be completed, if the store has it and the training has another."""
    noted = noted_run(training)
    if noted and noted != kept and search(training.task, f"attributes.run_id = '{noted}'"):
        drop_repeat(noted, kept)
    if noted:
        local_file(noted, "json").unlink()
        local_file(noted, "lock").unlink(missing_ok=True)


def _log_evaluation(run: Run, training: Training, evaluation: dict[str, str], folder: Path) -> None:
    """Test metrics as test_NAME, of the run and its model; plots and grids as artifacts; a description."""
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    scores = json.loads((folder / METRICS / f"{training.task}.json").read_text())
    values = {f"test_{name}": float(value) for name, value in scores.items()}
    model_id = model_of(run_id, training.task)
    client.log_batch(run_id, metrics=measured(values, model_id=model_id))
    client.log_artifacts(run_id, str(folder / PLOTS / training.task), "evaluation")
    if run.data.tags.get(NOTE, LINKS).startswith(LINKS):  # else a person has written another
        client.set_tag(run_id, NOTE, describe(run, training, scores))
    for name, value in evaluation.items():  # these say that all is there
        client.set_tag(run_id, name, value)


def set_view(task: str) -> None:
    """Give the experiment its view in the UI, and the description that links to it unless it has another."""
    experiment = mlflow.get_experiment(connect(task))
    tags = {NOTE: experiment_links(experiment.experiment_id)} | experiment.tags | experiment_tags(task)
    for name, value in tags.items() - experiment.tags.items():
        mlflow.MlflowClient().set_experiment_tag(experiment.experiment_id, name, value)


def describe(run: Run, training: Training, scores: dict[str, float]) -> str:
    """Markdown for the run's page: where the checkpoint is, and each test metric that has an interval."""
    best, md5 = run.data.metrics, training.outputs["model_md5"]
    rows = [
        f"| {name} | {value:.4f} | {scores[f'{name}_low']:.4f} to {scores[f'{name}_high']:.4f} |"
        for name, value in scores.items()
        if f"{name}_low" in scores
    ]
    return "\n".join(
        [
            run_links(run.info.experiment_id, run.info.run_id),
            "",
            f"Best of {training.params['epochs']} epochs by validation loss: "
            f"{best['best_epoch']:.0f} ({best['best_val_loss']:.4f}).",
            f"DVC has the checkpoint as `data/models/{training.task}.keras`, md5 `{md5}`; "
            f"`python -m pipeline.tracking show {md5}` names the commits and experiments.",
            "",
            "| test metric | value | 95 % interval |",
            "| --- | --- | --- |",
            *rows,
        ]
    )
