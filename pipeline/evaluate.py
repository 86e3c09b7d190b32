"""Stages evaluate_segmenter and evaluate_classifier: the best checkpoint on the official test split.

    python -m pipeline.evaluate segmenter
    python -m pipeline.evaluate classifier

Reads   data/models/TASK.keras, data/prepared/TASK/; for MLflow data/history/TASK.csv
Writes  data/metrics/TASK.json   each headline metric with its 95 % bootstrap interval over pictures
        data/plots/TASK/         tables (CSV), confusion matrix, grids of pictures (PNG)
        the same to the run in MLflow that has the checkpoint, and a version of it in the registry
"""

from importlib import import_module

import numpy as np
import tensorflow as tf

from pipeline.data.dataset import load_dataset
from pipeline.errors import InputError
from pipeline.inputs import unchanged
from pipeline.outputs import replacing, write_metrics
from pipeline.params import load_params
from pipeline.paths import HISTORY, MODELS, PLOTS, checkpoint
from pipeline.stage import run, task_argument
from pipeline.tasks import TASKS
from pipeline.tracking.record import record_evaluation
from pipeline.tracking.results import decided
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.housekeeping import forget_finished


def evaluate(task: str) -> None:
    """Measure a task's checkpoint by pipeline/evaluation/TASK.py and have MLflow show it.

    Raises InputError for a checkpoint or data that are missing or broken.
    """
    with unchanged(f"evaluate_{task}"):
        params = load_params()
        tf.config.experimental.enable_op_determinism()  # a GPU may otherwise choose another kernel every time
        data, model = load_dataset(task), load_checkpoint(checkpoint(task))
        if model.output_shape[-1] != TASKS[task].outputs:
            found = f"{MODELS / task}.keras: gives {model.output_shape}"
            raise InputError(f"{found}; allowed: {TASKS[task].outputs} in the last axis (pipeline/tasks.py)")
        with replacing(PLOTS / task) as folder:
            folder.mkdir()
            measure = import_module(f"pipeline.evaluation.{task}").evaluate
            scores = measure(model, data, getattr(params, f"evaluate_{task}"), folder)
        finite = {name: value for name, value in scores.items() if np.isfinite(value)}  # a class may lack
        write_metrics(task, finite, [metric.name for metric in TASKS[task].metrics])
    history = HISTORY / f"{task}.csv"
    if history.exists():  # `dvc repro --pull --allow-missing` fetches dependencies alone
        forget_finished(task, history.read_text())  # DVC has stored what the training made
        record_evaluation(task, decided(task, params, data.image_size))
    else:
        print(f"warning: no {history}, so MLflow does not get this evaluation; `dvc pull {history}`, then `make ui`")


if __name__ == "__main__":
    run(evaluate, task_argument())
