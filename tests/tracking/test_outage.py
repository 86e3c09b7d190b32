"""A store that goes away in the middle of a training: the training ends all the same, `sync` writes the run."""

import subprocess
import threading
import time
from pathlib import Path

import mlflow
import pytest

from pipeline.evaluate import evaluate
from pipeline.tracking.sync import sync
from tests.helpers.project import start_stage, tiny, write_params
from tests.helpers.servers import MlflowServer
from tests.helpers.training import lock_outputs, logged, only_run

pytestmark = pytest.mark.slow

EPOCHS = 12


def read_until(process: subprocess.Popen, words: str) -> None:
    assert any(words in line for line in process.stdout), process.stderr.read()


def test_a_store_that_stays_away_keeps_no_stage_from_its_end_and_sync_writes_the_run(
    server: MlflowServer, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_params(prepared, **tiny(train_classifier={"epochs": EPOCHS}))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    training = start_stage(prepared, "train", "classifier", MLFLOW_HTTP_REQUEST_TIMEOUT="2")
    read_until(training, "epoch 2/")
    while len(logged(only_run("classifier"), "loss")) < 2:
        time.sleep(0.05)
    with server.away():
        _, said = training.communicate(timeout=120)
        assert training.returncode == 0
        evaluate("classifier")
    for errors in (said, capsys.readouterr().err):
        assert f"warning: the MLflow store {server.url} cannot be used: " in errors
        assert "`python -m pipeline.tracking sync` writes what is missing, later" in errors
        assert "Traceback" not in errors
    live = only_run("classifier")
    assert live.info.status == "RUNNING"

    lock_outputs("classifier")
    sync([])
    run = only_run("classifier")
    assert (run.info.status, run.data.tags["origin"]) == ("FINISHED", "restored from DVC")
    assert mlflow.get_run(live.info.run_id).info.lifecycle_stage == "deleted"
    assert [step for step, _ in logged(run, "loss")] == list(range(1, EPOCHS + 1)), "every epoch once"
    assert "test_accuracy" in run.data.metrics


def test_a_store_that_never_answers_stalls_no_epoch(server: MlflowServer, prepared: Path) -> None:
    write_params(prepared, **tiny(train_classifier={"epochs": EPOCHS}))
    process = start_stage(prepared, "train", "classifier", MLFLOW_HTTP_REQUEST_TIMEOUT="600")
    read_until(process, "epoch 1/")
    with server.hanging():
        patience = threading.Timer(120, process.kill)  # a training that waits for the answer prints no more
        patience.start()
        try:
            read_until(process, f"epoch {EPOCHS}/")
        finally:
            patience.cancel()
    process.communicate()
    assert process.returncode == 0
    assert [step for step, _ in logged(only_run("classifier"), "loss")] == list(range(1, EPOCHS + 1))
