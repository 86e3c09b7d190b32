"""Trainings that start at the same moment on a store that does not exist yet, each a process of its own."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from pipeline.inputs import content_md5
from tests.helpers.project import REPOSITORY, environment, write_params
from tests.helpers.servers import MlflowServer
from tests.helpers.training import logged, runs

EPOCHS = 3
# Real trainings of the real module, but of a model of a few parameters, in folders of their own, as DVC starts them.
# They fork from one process that has imported all, and so start together.
TRAIN_ALL = """
import os, sys
import keras
from pipeline import train
from pipeline.models.classifier import residual
def tiny(size):
    inputs = keras.Input((size, size, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x), name="residual")
residual.build = tiny
trainings = []
for folder in sys.argv[1:]:
    trainings.append(os.fork())
    if trainings[-1] == 0:
        os.chdir(folder)
        sys.exit(train.train("classifier"))
sys.exit(any([os.waitpid(training, 0)[1] for training in trainings]))
"""


def train_together(root: Path, number_of_them: int, uri: str | None) -> None:
    """Processes each with a seed of its own."""
    folders = [root / f"temporary{number}" for number in range(number_of_them)]
    for number, folder in enumerate(folders):
        (folder / "data").mkdir(parents=True)
        (folder / "data/prepared").symlink_to(root / "data/prepared")
        changes = {"architecture": "residual", "epochs": EPOCHS, "batch_size": 4, "seed": number}
        write_params(folder, train_classifier=changes)
    variables = {"DVC_ROOT": str(root), "PYTHONPATH": str(REPOSITORY)} | ({"MLFLOW_TRACKING_URI": uri} if uri else {})
    command = [sys.executable, "-c", TRAIN_ALL, *map(str, folders)]
    done = subprocess.run(command, env=environment() | variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number_of_them"), [("sqlite", 8), ("server", 8)])
def test_trainings_that_start_at_once_on_a_new_store_leave_as_many_whole_runs(
    prepared: Path, request: pytest.FixtureRequest, kind: str, number_of_them: int
) -> None:
    server: MlflowServer | None = request.getfixturevalue("server") if kind == "server" else None
    (prepared / "mlflow.db").unlink()
    train_together(prepared, number_of_them, server.url if server else None)

    found = runs("classifier")
    assert sorted(run.data.params["seed"] for run in found) == [str(number) for number in range(number_of_them)]
    for run in found:
        assert run.info.status == "FINISHED"
        assert [step for step, _ in logged(run, "val_loss")] == list(range(1, EPOCHS + 1))
        (model,) = run.outputs.model_outputs
        logged_model = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
        assert content_md5(logged_model / "data/classifier.keras") == run.data.tags["model_md5"]
    names = {experiment.name for experiment in mlflow.search_experiments()}
    assert names == {"Default", "pets-classifier", "pets-segmenter"}
    if kind == "sqlite":
        with sqlite3.connect("mlflow.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
