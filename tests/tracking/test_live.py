"""A run at work: how it ends, who may go on with it, and what becomes of one that died.

What a store must do is asked of both, sqlite and a server.
"""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from filelock import Timeout
from mlflow.entities import LoggedModelOutput

from pipeline.errors import InputError
from pipeline.evaluate import evaluate
from pipeline.inputs import content_md5
from pipeline.tracking.lineage import Training
from pipeline.tracking.runs import open_run
from pipeline.tracking.store import connect
from pipeline.tracking.tracked import TrackedRun
from pipeline.train import train
from tests.helpers.project import start_stage, tiny, write_params
from tests.helpers.training import interrupt, logged, only_run, runs, train_until

OUTPUTS = ("data_md5", "model_md5", "history_md5")
SOME_TRAINING = Training("classifier", {"architecture": "residual", "epochs": 3}, "md5")


def start_some_run() -> TrackedRun:
    return open_run(SOME_TRAINING, "CPU")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "KILLED"), (InputError("x"), "FAILED")])
def test_a_run_says_how_it_ended(store: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), start_some_run():
        raise error
    assert only_run("classifier").info.status == status


def test_a_run_interrupted_while_mlflow_gets_the_checkpoint_ends_killed_not_failed(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.tracked.log_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train("classifier")
    assert only_run("classifier").info.status == "KILLED"


def test_a_run_that_is_complete_stays_finished_whatever_comes_then(prepared: Path) -> None:
    train("classifier")
    run_id = only_run("classifier").info.run_id
    with pytest.raises(KeyboardInterrupt), open_run(SOME_TRAINING, "CPU", run_id):
        raise KeyboardInterrupt
    assert only_run("classifier").info.status == "FINISHED"


def test_a_run_at_work_is_not_taken_by_a_second_process(prepared: Path) -> None:
    with start_some_run() as first, pytest.raises(Timeout):
        open_run(SOME_TRAINING, "CPU", first.run_id)


def test_a_run_that_waits_for_sync_goes_when_its_training_has_another(prepared: Path) -> None:
    train("classifier")
    with start_some_run() as waiting:  # the store went away at its end
        waiting.note.write_text(
            json.dumps(SOME_TRAINING.finished().tags | {"data_md5": content_md5(Path("data/prepared/classifier"))})
        )
    evaluate("classifier")
    assert only_run("classifier").info.run_id != waiting.run_id
    assert not waiting.note.exists()


def test_a_run_that_was_completed_before_its_note_went_stays(prepared: Path) -> None:
    train("classifier")
    finished = only_run("classifier")
    note = Path(".training", f"{finished.info.run_id}.json")  # as a kill between the two leaves it
    note.write_text(json.dumps({name: finished.data.tags[name] for name in OUTPUTS}))
    evaluate("classifier")
    assert only_run("classifier").info.run_id == finished.info.run_id
    assert not note.exists()


@pytest.mark.parametrize("store_has_it", [True, False], ids=["deleted", "of another store"])
def test_a_run_that_waits_for_sync_and_is_gone_is_forgotten(prepared: Path, store_has_it: bool) -> None:
    train("classifier")
    finished = only_run("classifier")
    with start_some_run() as waiting:
        mlflow.delete_run(waiting.run_id)
    note = waiting.note if store_has_it else waiting.note.with_stem("0" * 32)
    note.write_text(json.dumps({name: finished.data.tags[name] for name in OUTPUTS}))
    evaluate("classifier")
    assert "test_accuracy" in only_run("classifier").data.metrics
    assert not note.exists()


def test_dead_runs_of_both_tasks_are_closed_by_the_next_start_and_those_of_other_machines_are_not(store: Path) -> None:
    dead = open_run(replace(SOME_TRAINING, task="segmenter"), "CPU")
    dead.alive.release()  # as the system does for a killed process
    elsewhere = open_run(SOME_TRAINING, "CPU")
    elsewhere.alive.release()
    elsewhere.lock.unlink()  # it lies on the other machine
    with start_some_run() as at_work:
        assert only_run("segmenter").info.status == "KILLED"
        states = {run.info.run_id: run.info.status for run in runs("classifier")}
        assert states == {elsewhere.run_id: "RUNNING", at_work.run_id: "RUNNING"}


def test_the_part_of_a_model_that_a_kill_left_goes(store: Path) -> None:
    train_until("classifier", "epoch 3/3")
    run_id, client = only_run("classifier").info.run_id, mlflow.MlflowClient()
    for _ in range(4):  # the run names them all for good, in an order of chance
        half = client.create_logged_model(connect("classifier"), "model", source_run_id=run_id)
        client.log_outputs(run_id, [LoggedModelOutput(half.model_id, 0)])
    train("classifier")
    (model,) = client.search_logged_models([connect("classifier")])
    assert (model.source_run_id, model.status) == (run_id, "READY")
    evaluate("classifier")
    (version,) = client.search_model_versions("name = 'pets-classifier'")
    assert version.source == f"models:/{model.model_id}"
    assert "test_accuracy" in {metric.key for metric in client.get_logged_model(model.model_id).metrics}


def test_a_run_left_by_kill_9_is_closed_by_the_next_start_and_gone_on_with_by_its_own_training(prepared: Path) -> None:
    write_params(prepared, **tiny(train_classifier={"epochs": 20}))
    process = start_stage(prepared, "train", "classifier")
    for line in process.stdout:
        if "epoch 3/" in line:
            process.kill()
            break
    process.communicate()
    killed = only_run("classifier")
    assert killed.info.status == "RUNNING"

    with start_some_run():
        states = {run.info.run_id: run.info.status for run in runs("classifier")}
        assert states.pop(killed.info.run_id) == "KILLED"
        assert list(states.values()) == ["RUNNING"], "the one at work is left alone"

    train("classifier")
    (finished,) = [run for run in runs("classifier") if "model_md5" in run.data.tags]
    assert (finished.info.run_id, finished.info.status) == (killed.info.run_id, "FINISHED")
    assert [step for step, _ in logged(finished, "val_loss")] == list(range(1, 21))
    assert not list((prepared / ".training").glob(f"{killed.info.run_id}*"))
