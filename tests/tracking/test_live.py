"""The run that people watch during a training: best effort, and gone when the real one is written."""

import time
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock

from pipeline.errors import InputError
from pipeline.inputs import content_md5
from pipeline.paths import PREPARED
from pipeline.tracking.lineage import Origin
from pipeline.tracking.live import LIVE, LiveRun
from pipeline.tracking.record import find, record
from tests.helpers.project import tiny, write_params
from tests.helpers.servers import MlflowServer
from tests.helpers.training import (
    deleted_runs,
    interrupt,
    logged,
    only_run,
    result_here,
    runs,
    train_until,
    write_outputs,
)

PARAMS = {"architecture": "tiny", "epochs": 1, "image_size": 16, "dataset": "embedded", "seed": 0}  # of result_here
HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "val_loss": 2 / epoch} for epoch in (1, 2, 3)]


def lock_of(name: str) -> FileLock:
    """The lock of a training's state, which train.py holds."""
    Path(".training").mkdir(exist_ok=True)
    return FileLock(Path(".training").resolve() / f"{name}.lock")


def start(lock: FileLock, task: str = "classifier", history: list[dict] = HISTORY[:0], **params: object) -> LiveRun:
    return LiveRun(task, PARAMS | params, "data", Origin({"origin": "dvc repro"}), lock, history)


def leave_state(lock: FileLock) -> None:
    """Leave what an interrupted training does after an epoch."""
    Path(lock.lock_file).with_suffix(".npz").touch()


def interrupt_after(live: LiveRun, history: list[dict[str, float]]) -> None:
    def work() -> None:
        with live:
            live.log_later(history)
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        work()


def states(task: str = "classifier") -> dict[str, str]:
    return {run.info.run_id: run.info.status for run in runs(task)}


def test_a_training_at_work_is_seen_with_its_epochs_and_an_error_ends_its_run_failed(store: Path) -> None:
    with lock_of("a") as lock, start(lock) as live:
        live.log_later(HISTORY[:1])
        live.attempt.result()
        live.log_later(HISTORY)
        live.attempt.result()
        run = only_run("classifier")
        assert (run.info.status, run.info.run_name) == ("RUNNING", "tiny (live)")
        assert run.data.params == {name: str(value) for name, value in PARAMS.items()}
        assert run.data.tags.items() > {"data_md5": "data", "origin": "dvc repro"}.items()
        assert logged(run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)], "each once"
        assert logged(run, "val_loss") == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    with pytest.raises(InputError), lock_of("a") as lock, start(lock):
        raise InputError("x")
    assert only_run("classifier").info.status == "FAILED"


def test_the_run_of_an_interrupted_training_goes_when_that_goes_on_with_all_its_epochs(store: Path) -> None:
    with lock_of("a") as lock:
        live = start(lock)
        interrupt_after(live, HISTORY[:1])
    leave_state(lock)
    with lock_of("b") as other, start(other, seed=1):
        assert states()[live.run_id] == "KILLED", "of another training"
    with lock_of("a") as same, start(same, history=HISTORY) as again:
        again.attempt.result()
        assert live.run_id not in states()
        assert [step for step, _ in logged(mlflow.get_run(again.run_id), "loss")] == [1, 2, 3]


def test_runs_whose_process_died_are_closed_by_the_next_start_and_those_of_other_machines_are_not(store: Path) -> None:
    with lock_of("dead") as lock:
        dead = start(lock, "segmenter")  # nothing ends it: as a kill leaves it
    leave_state(lock)
    with lock_of("before an epoch") as lock:
        start(lock, "segmenter", seed=1)
    with lock_of("elsewhere") as lock:
        elsewhere = start(lock, seed=1)
    mlflow.MlflowClient().set_tag(elsewhere.run_id, LIVE, "another-machine:/home/me/pets/.training/x.lock")
    with lock_of("a") as lock, start(lock) as at_work:
        assert states("segmenter") == {dead.run_id: "KILLED"}, "of the other nothing is left to go on with"
        assert states() == {elsewhere.run_id: "RUNNING", at_work.run_id: "RUNNING"}


def test_the_real_run_replaces_the_live_one_and_no_other(store: Path) -> None:
    write_outputs("classifier")
    with lock_of("other") as lock, start(lock, seed=1) as other:
        record(result_here("classifier"), Origin({}))
        assert states()[other.run_id] == "RUNNING", "the outputs are those of an earlier training"
    leave_state(lock)
    mlflow.delete_run(find(result_here("classifier")).info.run_id)
    with lock_of("a") as lock, start(lock) as live:
        pass
    leave_state(lock)
    record(result_here("classifier"), Origin({}), replaced=live.lock.name)
    found = states()
    assert found.pop(other.run_id) == "KILLED"
    assert list(found.values()) == ["FINISHED"]


def test_what_mlflow_measured_of_the_machine_goes_to_the_real_run(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")  # seconds
    write_outputs("classifier")
    measured, deadline = "system/cpu_utilization_percentage", time.monotonic() + 30
    with lock_of("a") as lock, start(lock) as live:
        while measured not in mlflow.get_run(live.run_id).data.metrics and time.monotonic() < deadline:
            time.sleep(0.05)
    record(result_here("classifier"), Origin({}), replaced=live.lock.name)
    history = mlflow.MlflowClient().get_metric_history(only_run("classifier").info.run_id, measured)
    assert history
    assert all(0 <= point.value <= 100 for point in history)


def test_a_store_that_goes_away_costs_a_line_and_not_the_training(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    with lock_of("a") as lock:
        live = start(lock)
        live.attempt.result()
        Path("mlflow.db").rename("away.db")
        Path("mlflow.db").write_text("no database")
        interrupt_after(live, HISTORY)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "warning"], lines
    assert lines[0].endswith("; the training goes on")
    assert lines[1].endswith("; `python -m pipeline.tracking sync` writes what is missing, later")


@pytest.mark.slow
def test_an_interrupted_training_waits_twice_for_a_store_that_hangs(
    server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_of("a") as lock:
        live = start(lock)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # seconds
        with server.hanging():
            begun = time.monotonic()
            interrupt_after(live, HISTORY)
            assert time.monotonic() - begun < 13, "for the epochs and the machine's metrics at once, then for the end"


@pytest.mark.slow
def test_an_interrupted_training_s_run_has_all_its_epochs_until_the_finished_one_replaces_it(prepared: Path) -> None:
    from pipeline.train import train  # TensorFlow takes 5 s, and the other tests here need none

    write_params(prepared, **tiny(train_classifier={"epochs": 8}))
    train_until("classifier", "epoch 3/8")
    train_until("classifier", "epoch 6/8")
    interrupted = only_run("classifier")
    assert interrupted.info.status == "KILLED"
    assert interrupted.data.tags["data_md5"] == content_md5(PREPARED / "classifier")
    assert [step for step, _ in logged(interrupted, "val_loss")] in (list(range(1, end)) for end in (6, 7))
    train("classifier")
    run = only_run("classifier")
    assert (run.info.status, [step for step, _ in logged(run, "loss")]) == ("FINISHED", list(range(1, 9)))
    assert interrupted.info.run_id in {one.info.run_id for one in deleted_runs("classifier")}
