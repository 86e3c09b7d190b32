"""MLflow as a projection of DVC: one function writes all of a result that the store lacks, from DVC's outputs."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Run
from mlflow.tracking.context.registry import resolve_tags

from pipeline.outputs import read_metrics
from pipeline.params import load_params
from pipeline.paths import HISTORY, METRICS, MODELS, PLOTS, PREPARED, root
from pipeline.plot import draw_curves, summarize
from pipeline.revisions import work_tree
from pipeline.tracking.card import CARD, model_card
from pipeline.tracking.lineage import Origin
from pipeline.tracking.live import (
    LIVE,
    clear_live_runs,
    epoch_metrics,
    place_of,
    run_params,
    system_metrics,
    without_store,
)
from pipeline.tracking.registry import register
from pipeline.tracking.results import Result, result_in_files, result_in_lock
from pipeline.tracking.serving import log_model
from pipeline.tracking.store import connect, delete_run, idempotent, model_of, search, store_faults, store_lock
from pipeline.tracking.views import experiment_links, experiment_tags

NOTE = "mlflow.note.content"
DATA_CONTEXT = "mlflow.data.context"
BATCH = 1000  # metrics in a request: MLflow's limit


def record(result: Result, origin: Origin, folder: Path = Path(), seconds: float = 0, replaced: str = "") -> None:
    """Write the run, the evaluation and the version of a result, as far as the store lacks them.

    folder: laid out like the repository, with the result's outputs. seconds: what the training took, 0 if unknown.
    replaced: the name of the lock of its live run, which goes.
    Raises StoreError if the store cannot be used, OSError for an output that is missing.
    """
    # These are read before the store is asked: a fault here is no fault of the store's.
    history = pd.read_csv(folder / HISTORY / f"{result.task}.csv")
    scores = read_metrics((folder / METRICS / f"{result.task}.json").read_text()) if result.evaluation else {}

    @idempotent
    def write() -> None:
        if find(result) is None:
            _write_training(result, origin, history, folder, seconds, replaced)
        # Two machines may end the same training at once. The run that ended first may have a version by now: it stays.
        run, *repeats = sorted(search(result.task, result.condition), key=lambda run: run.info.end_time)
        for repeat in repeats:
            delete_run(repeat)
        if result.evaluation.items() - run.data.tags.items():
            _write_evaluation(run, result, scores, folder)
        if result.evaluation:
            register(result.task, result.training["model_md5"])
        clear_live_runs(replaced)
        set_view(result.task)

    with store_faults(), store_lock():
        write()


def record_training(task: str, params: dict[str, Any], origin: Origin, seconds: float = 0, replaced: str = "") -> None:
    """Record a training whose outputs lie in the working directory, see `record`. Warns if the store is away."""
    with without_store():
        record(result_in_files(task, params, evaluated=False), origin, seconds=seconds, replaced=replaced)


def record_evaluation(task: str, params: dict[str, Any]) -> None:
    """Record an evaluation, and its training, whose outputs lie in the working directory. Warns if the store is away.

    params: of params.yaml, which may have been edited since the training: those of dvc.lock go first.
    """
    here, result = work_tree(), result_in_files(task, params, evaluated=True)
    locked = result_in_lock(task, here.stages)
    if locked and locked.training == result.training:
        result = Result(task, locked.params, result.training, result.evaluation)
    with without_store():
        record(result, Origin.restored(here, task))


def find(result: Result) -> Run | None:
    """Return the finished run of a result's training, the oldest where there are several."""
    return next(iter(search(result.task, result.condition)), None)


def is_recorded(result: Result) -> bool:
    """Tell whether `record` has nothing to do. Raises StoreError."""
    with store_faults():
        runs = search(result.task, result.condition)
    return len(runs) == 1 and not result.evaluation.items() - runs[0].data.tags.items()


def _write_training(
    result: Result, origin: Origin, history: pd.DataFrame, folder: Path, seconds: float, replaced: str
) -> None:
    """Write a run that is FINISHED when it is whole. A kill leaves it with the tag of live ones, which are replaced."""
    client, task = mlflow.MlflowClient(), result.task
    summary = summarize(history, load_params().plot.overfit_after)
    name = " ".join(filter(None, (result.params["architecture"], origin.tags.get("dvc_experiment"))))
    # MLflow's own tags (user, source) come from a function that is not public; its client sets none.
    tags = resolve_tags() | {"mlflow.source.name": "pipeline/train.py", LIVE: place_of(root() / ".training/record")}
    tags |= result.training | origin.tags
    ended = int(time() * 1000)
    run_id = client.create_run(connect(task), ended - int(seconds * 1000), tags, name).info.run_id
    client.log_batch(run_id, params=run_params(result.params))
    client.log_inputs(run_id, [_dataset(result, "train", "training"), _dataset(result, "validation", "validation")])
    if origin.patch:
        client.log_text(run_id, origin.patch, "uncommitted.patch")
    with TemporaryDirectory() as drawn:
        draw_curves(history, summary, task, Path(drawn) / "curves.png")
        client.log_artifacts(run_id, drawn)
    points = [point for row in history.to_dict("records") for point in epoch_metrics(row)]
    best = ("best_epoch", "best_val_loss", "best_val_accuracy")  # the model's: of val_loss, the UI shows the last one
    points += [Metric(key, float(summary[key]), ended, 0) for key in best]
    points += system_metrics(task, replaced)
    for start in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[start : start + BATCH])
    with mlflow.start_run(run_id=run_id):  # ends FINISHED
        log_model(task, folder / MODELS / f"{task}.keras")
    client.set_terminated(run_id, end_time=ended)  # its duration is the training's
    client.delete_tag(run_id, LIVE)


def _dataset(result: Result, split: str, context: str) -> DatasetInput:
    """Return the pictures of a split, under the md5 by which DVC has the prepared pictures of all."""
    source, md5 = json.dumps({"uri": (root() / PREPARED / result.task).as_uri()}), result.training["data_md5"]
    name = f"pets-{result.task}-{split}"  # no space: MLflow's store of files cannot read that back in a metric
    return DatasetInput(Dataset(name, md5, "local", source), [InputTag(DATA_CONTEXT, context)])


def _write_evaluation(run: Run, result: Result, scores: dict[str, float], folder: Path) -> None:
    """Write test metrics as test_NAME, of the run and its model; plots and grids as artifacts; a description."""
    client, run_id, task = mlflow.MlflowClient(), run.info.run_id, result.task
    model_id, now = model_of(run_id, task), int(time() * 1000)
    tested = _dataset(result, "test", "testing")
    client.log_inputs(run_id, [tested])
    of = (now, 0, model_id, tested.dataset.name, tested.dataset.digest)
    client.log_batch(run_id, metrics=[Metric(f"test_{name}", float(value), *of) for name, value in scores.items()])
    client.log_artifacts(run_id, str(folder / PLOTS / task), "evaluation")
    if run.data.tags.get(NOTE, CARD).startswith(CARD):  # else a person has written another
        client.set_tag(run_id, NOTE, model_card(task, mlflow.get_run(run_id)))
    for name, value in result.evaluation.items():  # these say that all is there
        client.set_tag(run_id, name, value)


def set_view(task: str) -> None:
    """Give the experiment its view in the UI, and the description that links to it unless it has another."""
    experiment = mlflow.get_experiment(connect(task))
    tags = {NOTE: experiment_links(experiment.experiment_id)} | experiment.tags | experiment_tags(task)
    for name, value in tags.items() - experiment.tags.items():
        mlflow.MlflowClient().set_experiment_tag(experiment.experiment_id, name, value)
