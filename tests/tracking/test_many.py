"""Trainings that start at the same moment on a store that does not exist yet, each a process of its own."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from pipeline.inputs import content_md5
from pipeline.tracking.registry import versions_of
from tests.helpers.project import REPOSITORY, environment, write_params
from tests.helpers.servers import MlflowServer
from tests.helpers.training import logged, runs

EPOCHS = 3
# Real trainings of the real module, but of a model of a few parameters, in folders of their own, as DVC starts them.
# They fork from one process that has imported all, and so start together.
TRAIN_ALL = """
import os, sys
import keras
from pipeline import evaluate, train
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
        train.train("classifier")
        sys.exit(evaluate.evaluate("classifier"))
sys.exit(any([os.waitpid(training, 0)[1] for training in trainings]))
"""


def train_together(root: Path, seeds: list[int], **variables: str) -> None:
    """Have as many processes train and evaluate, each in a folder of its own. variables: of their environment."""
    folders = [root / f"temporary{number}" for number in range(len(seeds))]
    for seed, folder in zip(seeds, folders, strict=True):
        (folder / "data").mkdir(parents=True)
        (folder / "data/prepared").symlink_to(root / "data/prepared")
        changes = {"architecture": "residual", "epochs": EPOCHS, "batch_size": 4, "seed": seed}
        write_params(folder, train_classifier=changes)
    variables = {"PYTHONPATH": str(REPOSITORY)} | variables
    command = [sys.executable, "-c", TRAIN_ALL, *map(str, folders)]
    done = subprocess.run(command, env=environment() | variables, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stderr
    assert "warning: the MLflow store" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seeds"), [("sqlite", [*range(8)]), ("server", [0, 0, 0, 1, 2, 3, 4, 5])])
def test_trainings_that_start_at_once_on_a_new_store_leave_a_whole_run_and_a_version_each_equal_ones_one_together(
    prepared: Path, request: pytest.FixtureRequest, kind: str, seeds: list[int]
) -> None:
    """As experiments of one repository, whose lock they share, and as clones that share a server."""
    server: MlflowServer | None = request.getfixturevalue("server") if kind == "server" else None
    (prepared / "mlflow.db").unlink()
    place = {"MLFLOW_TRACKING_URI": server.url} if server else {"DVC_ROOT": str(prepared)}
    train_together(prepared, seeds, **place)

    found = runs("classifier")
    assert sorted(run.data.params["seed"] for run in found) == [str(seed) for seed in sorted({*seeds})]
    assert sorted(version.run_id for version in versions_of("classifier")) == sorted(run.info.run_id for run in found)
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
