"""MLflow: one store per repository, one run per training, tied to DVC by content. The only file that imports mlflow."""

import os
import re
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass

import keras
import mlflow
import pandas as pd
import tensorflow as tf
from filelock import FileLock
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Run

from pipeline.checkpoint import content_md5, load_checkpoint
from pipeline.dataset import Dataset
from pipeline.params import Train
from pipeline.stage import HISTORY, MODELS, PLOTS, PREPARED, InputError, root


@dataclass
class TrackedRun:
    """An open run; `logged` is the number of epochs that the store has of it."""

    run_id: str
    logged: int

    def log_history(self, history: list[dict[str, float]]) -> None:
        """Add the epochs that the store does not have yet, in one request each: step is the epoch, from 1."""
        for row in history[self.logged :]:
            metrics = {name: value for name, value in row.items() if name != "epoch"}
            mlflow.log_metrics(metrics, step=int(row["epoch"]), run_id=self.run_id)
        self.logged = len(history)

    def log_outputs(self, task: str, data: Dataset) -> None:
        """Log what the training left: the whole history, the best epoch, the checkpoint as a model, their md5s.

        The model has a signature and one validation picture as its example.
        """
        history, checkpoint = HISTORY / f"{task}.csv", MODELS / f"{task}.keras"
        epochs = pd.read_csv(history)
        self.log_history(epochs.to_dict("records"))
        best = epochs.loc[epochs["val_loss"].idxmin()]
        # What the UI shows of val_loss is the last epoch's; the model is the best epoch's.
        names = {"best_epoch": "epoch", "best_val_loss": "val_loss", "best_val_accuracy": "val_accuracy"}
        mlflow.log_metrics({name: float(best[column]) for name, column in names.items()}, run_id=self.run_id)

        model, example = load_checkpoint(checkpoint), data.images[data.rows("validation")[:1]]
        keras.config.disable_interactive_logging()  # MLflow tries the example with a progress bar
        mlflow.tensorflow.log_model(
            model,
            name="model",
            signature=mlflow.models.infer_signature(example, model.predict(example, verbose=0)),
            input_example=example,
            pip_requirements=[f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"],
        )
        mlflow.set_tags(_md5_tags(task))


def device() -> str:
    """What TensorFlow computes on: the names of the GPUs it sees, or "CPU"."""
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return ", ".join(names) or "CPU"


def connect(task: str) -> str:
    """Point MLflow to the store, make the task's experiment if there is none, and return the experiment's id.

    MLFLOW_TRACKING_URI if set, else mlflow.db and mlartifacts/ in the repository's root. The artifact place is
    absolute, and the first use is under a lock: processes that make the tables of a new sqlite file at once corrupt it.
    Raises InputError for a store that cannot be used, or an experiment that was deleted.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    artifacts = None if uri.startswith("http") else (root() / "mlartifacts").as_uri()  # a server has its own place
    name = f"pets-{task}"
    try:
        # The experiment Default gets its artifact place from the folder in which a new store is first used.
        with FileLock(root() / "mlflow.db.lock"), chdir(root()):
            experiment = mlflow.get_experiment_by_name(name)
            if experiment is None:
                return mlflow.create_experiment(name, artifacts)
    except Exception as error:  # MlflowException, or what SQLAlchemy or requests raised, by what is wrong
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        line = f"the MLflow store {uri} cannot be used: {reason}"
        raise InputError(re.sub(r"//[^/\s]*@", "//", line)) from None  # no name, no password
    if experiment.lifecycle_stage == "deleted":
        command = f"mlflow experiments restore -x {experiment.experiment_id}"
        raise InputError(f"the MLflow experiment {name} was deleted; `{command}` brings it back")
    return experiment.experiment_id


@contextmanager
def training_run(
    task: str, params: Train, data: Dataset, data_md5: str, run_id: str | None = None, origin: str = "training"
) -> Iterator[TrackedRun]:
    """A run for one training: new, or `run_id` gone on with. It ends KILLED if interrupted, FAILED on an error.

    origin: how the run came about, "training" or "restored from DVC".
    """
    experiment_id = connect(task)
    if run_id and _find(experiment_id, f"attributes.run_id = '{run_id}'"):
        mlflow.start_run(run_id=run_id)
        tracked = TrackedRun(run_id, logged=len(mlflow.MlflowClient().get_metric_history(run_id, "loss")))
    else:
        tracked = TrackedRun(_start(experiment_id, task, params, data, data_md5, origin), logged=0)
    status = "FINISHED"
    try:
        yield tracked
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except BaseException:
        status = "FAILED"
        raise
    finally:
        mlflow.end_run(status)


def _start(experiment_id: str, task: str, params: Train, data: Dataset, data_md5: str, origin: str) -> str:
    """Start a run with its parameters, dataset and tags; returns its id."""
    dvc_experiment = os.environ.get("DVC_EXP_NAME")
    tags = {"data_md5": data_md5, "origin": origin, "device": device()}
    run = mlflow.start_run(
        experiment_id=experiment_id,
        run_name=" ".join(filter(None, (params.architecture, dvc_experiment))),
        tags=tags | ({"dvc_experiment": dvc_experiment} if dvc_experiment else {}),
    )
    mlflow.log_params(params.model_dump() | {"image_size": data.image_size})
    source = LocalArtifactDatasetSource((root() / PREPARED / task).as_uri())
    inputs = mlflow.data.from_pandas(data.samples, source=source, name=f"pets-{task}", digest=data_md5)
    mlflow.log_input(inputs, context="training")
    return run.info.run_id


def log_evaluation(task: str, params: Train, data: Dataset, metrics: dict[str, float]) -> None:
    """Add test metrics (as test_NAME) and the evaluation's plots to the run of the task's checkpoint and history.

    Where the store has none (a fresh clone, CI, a checkpoint restored by DVC), the run is written from DVC's outputs.
    """
    experiment_id = connect(task)
    condition = " and ".join(f"tags.{name} = '{value}'" for name, value in _md5_tags(task).items())
    if not _find(experiment_id, condition):
        with training_run(task, params, data, content_md5(PREPARED / task), origin="restored from DVC") as restored:
            restored.log_outputs(task, data)
    run_id = _find(experiment_id, condition)[0].info.run_id
    mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items()}, run_id=run_id)
    mlflow.MlflowClient().log_artifacts(run_id, str(PLOTS / task), "evaluation")


def _md5_tags(task: str) -> dict[str, str]:
    """What ties a run to dvc.lock. The checkpoint alone is not enough: its history may go on after the best epoch."""
    return {
        "model_md5": content_md5(MODELS / f"{task}.keras"),
        "history_md5": content_md5(HISTORY / f"{task}.csv"),
    }


def _find(experiment_id: str, condition: str) -> list[Run]:
    """Runs of an experiment that are not deleted, the newest first."""
    return mlflow.search_runs([experiment_id], condition, output_format="list", order_by=["start_time DESC"])
