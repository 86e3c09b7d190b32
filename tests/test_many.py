"""Eight trainings that start at the same moment on a store that does not exist yet, each a process of its own."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from tests.project import REPOSITORY, environment, write_params
from tests.servers import MlflowServer
from tests.training import logged, runs

EPOCHS = 5
# A real training of the real module, but of a model of a few parameters, in a folder of its own, as DVC starts it.
TRAIN = """
import sys, time
from pathlib import Path
import keras
from pipeline import models, train
def tiny(size):
    inputs = keras.Input((size, size, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x), name="residual")
models.ARCHITECTURES["residual"] = tiny
Path("ready").touch()
while not Path("../start").exists():
    time.sleep(0.01)
train.train("classifier")
"""


def start_together(folder: Path, uri: str | None) -> list[subprocess.Popen]:
    """Eight processes that have imported all they need, let go at once. Each has a seed of its own."""
    folders = [folder / f"temporary{number}" for number in range(8)]
    variables = {"DVC_ROOT": str(folder), "PYTHONPATH": str(REPOSITORY)} | ({"MLFLOW_TRACKING_URI": uri} if uri else {})
    processes = []
    for number, own in enumerate(folders):
        (own / "data").mkdir(parents=True)
        (own / "data/prepared").symlink_to(folder / "data/prepared")
        changes = {"architecture": "residual", "epochs": EPOCHS, "batch_size": 4, "seed": number}
        write_params(own, train_classifier=changes)
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started = subprocess.Popen([sys.executable, "-c", TRAIN], cwd=own, env=environment() | variables, **pipes)
        processes.append(started)
    while not all((own / "ready").exists() for own in folders):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    (folder / "start").touch()
    return processes


@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_eight_trainings_at_once_on_a_new_store_leave_eight_whole_runs(
    prepared: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    server: MlflowServer | None = request.getfixturevalue("server") if kind == "server" else None
    (prepared / "mlflow.db").unlink()
    for process in start_together(prepared, server.url if server else None):
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors

    found = runs("classifier")
    assert sorted(run.data.params["seed"] for run in found) == [str(number) for number in range(8)]
    for run in found:
        assert run.info.status == "FINISHED"
        assert "model_md5" in run.data.tags
        for metric in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert [step for step, _ in logged(run, metric)] == list(range(1, EPOCHS + 1))
        (model,) = run.outputs.model_outputs
        assert mlflow.pyfunc.load_model(f"models:/{model.model_id}").metadata.run_id == run.info.run_id
    names = {experiment.name for experiment in mlflow.search_experiments()}
    assert names == {"Default", "pets-classifier"}
    if kind == "sqlite":
        with sqlite3.connect("mlflow.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
