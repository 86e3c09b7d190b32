"""One function writes a run from DVC's outputs: whole, once, and never contradicted by what was edited since."""

import json
import time
from importlib import import_module
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run

from pipeline.evaluate import evaluate
from pipeline.inputs import content_md5
from pipeline.outputs import read_metrics
from pipeline.params import load_params
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Origin
from pipeline.tracking.live import LIVE
from pipeline.tracking.record import find, record, record_evaluation, record_training
from pipeline.tracking.results import decided, paths
from pipeline.train import train
from pipeline.training.devices import device
from tests.helpers.project import tiny, write_params
from tests.helpers.training import (
    deleted_runs,
    interrupt,
    lock_outputs,
    logged,
    only_run,
    record_one,
    result_here,
    runs,
    write_outputs,
)

CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")
MINE = "mlflow.note.content"


@pytest.mark.parametrize("task", ["classifier", pytest.param("segmenter", marks=pytest.mark.slow)])
def test_one_finished_run_holds_the_training_the_checkpoint_and_the_evaluation(store: Path, task: str) -> None:
    train(task)
    evaluate(task)
    run = only_run(task)

    assert (run.info.status, run.info.run_name) == ("FINISHED", getattr(load_params(), f"train_{task}").architecture)
    params = getattr(load_params(), f"train_{task}").model_dump() | {"image_size": 16, "dataset": "official"}
    assert run.data.params == {name: str(value) for name, value in params.items()}
    written = pd.read_csv(f"data/history/{task}.csv")
    for name in CURVES:
        assert logged(run, name) == list(zip(written["epoch"], written[name], strict=True)), "to the last digit"
    best = written.loc[written["val_loss"].idxmin()]
    for name, column in (("best_epoch", "epoch"), ("best_val_loss", "val_loss"), ("best_val_accuracy", "val_accuracy")):
        assert run.data.metrics[name] == best[column]

    expected = {name: content_md5(path) for name, path in paths(task).items()}
    expected |= {"origin": "python -m pipeline.train", "device": device("mixed")}
    assert run.data.tags.items() > expected.items()
    assert run.data.tags["champion"].startswith("yes: best_val_loss ")
    assert LIVE not in run.data.tags

    metrics = read_metrics(Path(f"data/metrics/{task}.json").read_text())
    assert {name: run.data.metrics[f"test_{name}"] for name in metrics} == metrics, "to the last digit"
    headline = TASKS[task].metrics[0].name
    low, high = metrics[f"{headline}_low"], metrics[f"{headline}_high"]
    row = f"| {headline} | {metrics[headline]:.4f} | {low:.4f} to {high:.4f} |"
    assert row in run.data.tags[MINE].splitlines()
    files = {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run.info.run_id, "evaluation")}
    assert files == {f"evaluation/{file.name}" for file in Path(f"data/plots/{task}").iterdir()}

    assert {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run.info.run_id)} > {"curves.png"}

    (output,) = run.outputs.model_outputs
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{output.model_id}"))
    assert [content_md5(path) for path in folder.rglob("*.keras")] == [run.data.tags["model_md5"]], "byte for byte"
    of_model = {metric.key: metric for metric in mlflow.get_logged_model(output.model_id).metrics}
    tested = of_model[f"test_{headline}"]
    assert tested.value == run.data.metrics[f"test_{headline}"]
    assert (tested.dataset_name, tested.dataset_digest) == (f"pets-{task}-test", run.data.tags["data_md5"])


def test_the_same_results_again_leave_the_one_run_and_a_changed_evaluation_replaces_its_metrics_alone(
    store: Path,
) -> None:
    first = record_one("classifier")
    again = record_one("classifier", origin="another")
    assert again.to_dictionary() == first.to_dictionary()
    assert (len(runs("classifier")), deleted_runs("classifier")) == (1, [])
    assert len(logged(first, "test_accuracy")) == 1

    mlflow.MlflowClient().set_tag(first.info.run_id, MINE, "mine")
    Path("data/metrics/classifier.json").write_text('{"accuracy": 0.1234567890123456}')
    record(result_here("classifier"), Origin({}))
    after = only_run("classifier")
    assert len(after.inputs.dataset_inputs) == 3
    assert after.data.tags["metrics_md5"] == content_md5(Path("data/metrics/classifier.json"))
    assert after.data.metrics["test_accuracy"] == 0.1234567890123456
    assert after.data.tags[MINE] == "mine", "what a person wrote"


def test_a_run_has_what_it_came_from_the_patch_of_its_code_its_duration_and_its_data(store: Path) -> None:
    write_outputs("classifier")
    result, origin = result_here("classifier", "md5.dir"), {"dvc_experiment": "bold", "uncommitted": "params.yaml"}
    record(result, Origin(origin, "--- a\n+++ b\n"), seconds=3600.5)
    run = only_run("classifier")
    assert run.info.run_name == "tiny bold"
    assert run.data.tags.items() > (origin | {"mlflow.source.name": "pipeline/train.py"}).items()
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/uncommitted.patch") == "--- a\n+++ b\n"
    assert run.info.end_time - run.info.start_time == 3_600_500
    assert abs(time.time() * 1000 - run.info.end_time) < 60_000
    found = {(one.dataset.name, one.dataset.digest, one.tags[0].value) for one in run.inputs.dataset_inputs}
    names = {"train": "training", "validation": "validation", "test": "testing"}
    assert found == {(f"pets-classifier-{split}", "md5.dir", context) for split, context in names.items()}
    (place,) = {json.loads(one.dataset.source)["uri"] for one in run.inputs.dataset_inputs}
    assert place == (store / "data/prepared/classifier").as_uri()


def test_a_long_history_is_logged_whole(prepared: Path) -> None:
    write_outputs("classifier")
    rows = "".join(f"{epoch},1,0.5,{1 / epoch},0.5\n" for epoch in range(1, 401))  # 1,600 points, MLflow takes 1,000
    Path("data/history/classifier.csv").write_text(f"epoch,loss,accuracy,val_loss,val_accuracy\n{rows}")
    record(result_here("classifier"), Origin({}))
    assert logged(only_run("classifier"), "val_loss") == [(epoch, 1 / epoch) for epoch in range(1, 401)]


def params_here() -> dict[str, object]:
    return decided("classifier", load_params(), 16)


def train_and_record(val_loss: float = 0.5) -> Run:
    """Leave outputs, a dvc.lock and a run as a training does."""
    write_outputs("classifier", val_loss)
    lock_outputs("classifier")
    record_training("classifier", params_here(), Origin({"origin": "dvc repro"}), 1.0)
    return runs("classifier")[0]


def test_a_checkpoint_without_a_run_gets_one_when_it_is_evaluated_whatever_was_edited_since(prepared: Path) -> None:
    trained = train_and_record()
    mlflow.delete_run(trained.info.run_id)
    write_params(prepared, **tiny(train_classifier={"seed": 77}))
    record_evaluation("classifier", params_here())
    restored = only_run("classifier")
    assert (restored.info.status, restored.data.tags["origin"]) == ("FINISHED", "restored from DVC")
    assert restored.data.params == trained.data.params
    assert restored.data.metrics.items() > trained.data.metrics.items(), "the same, and the evaluation's"
    for name in CURVES:
        assert logged(restored, name) == logged(trained, name)


def test_a_lock_that_names_another_training_does_not_change_a_finished_run(prepared: Path) -> None:
    before = train_and_record()
    text = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(text.replace(before.data.tags["history_md5"], "0" * 32).replace("1337", "77"))
    record_evaluation("classifier", params_here())
    after = only_run("classifier")
    assert (after.info.run_id, after.data.params) == (before.info.run_id, before.data.params)


def test_of_two_machines_that_end_the_same_training_the_older_run_stays(prepared: Path) -> None:
    first = record_one("classifier")
    other = mlflow.MlflowClient().create_run(first.info.experiment_id, tags=first.data.tags)
    mlflow.MlflowClient().set_terminated(other.info.run_id)
    record(result_here("classifier"), Origin({}))
    assert only_run("classifier").info.run_id == first.info.run_id


def test_the_part_of_a_run_that_a_kill_left_goes_when_the_whole_one_is_written(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.tracking.record.log_model", interrupt)
        with pytest.raises(KeyboardInterrupt):
            record_one("classifier")
    assert [run.info.status == "FINISHED" for run in runs("classifier")] == [False]
    assert find(result_here("classifier")) is None
    assert record_one("classifier").info.status == "FINISHED"
    only_run("classifier")


def test_a_broken_import_and_an_output_that_is_missing_are_no_faults_of_the_store(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_outputs("classifier")
    result = result_here("classifier")
    monkeypatch.setattr("pipeline.tracking.record.log_model", lambda *_: import_module("pets"))
    with pytest.raises(ImportError, match="No module named 'pets'"):
        record(result, Origin({}))
    Path("data/history/classifier.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"data/history/classifier\.csv"):
        record(result, Origin({}))
