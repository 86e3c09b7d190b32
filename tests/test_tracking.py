"""One run per training in the repository's own store, tied to DVC's outputs by their md5."""

import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline import tracking
from pipeline.checkpoint import content_md5, load_checkpoint
from pipeline.dataset import load_dataset
from pipeline.evaluate import evaluate
from pipeline.params import load_params
from pipeline.stage import TASKS, InputError
from pipeline.train import train
from tests.project import tiny, write_params
from tests.training import contradict_training, logged, only_run, runs


def history_and_checkpoint(task: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (Path(f"data/models/{task}.keras"), Path(f"data/history/{task}.csv"))}


@pytest.mark.parametrize("task", TASKS)
def test_one_run_holds_the_training_the_checkpoint_and_the_evaluation(prepared: Path, task: str) -> None:
    train(task)
    evaluate(task)
    run = only_run(task)

    assert run.info.status == "FINISHED"
    params = getattr(load_params(), f"train_{task}")
    expected = {name: str(value) for name, value in params.model_dump().items()} | {"image_size": "16"}
    assert run.data.params == expected
    written = pd.read_csv(f"data/history/{task}.csv")
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert logged(run, name) == list(zip(written["epoch"], written[name], strict=True)), "to the last digit"
    best = written.loc[written["val_loss"].idxmin()]
    for name, column in (("best_epoch", "epoch"), ("best_val_loss", "val_loss"), ("best_val_accuracy", "val_accuracy")):
        assert run.data.metrics[name] == best[column]

    paths = {
        "model": f"data/models/{task}.keras",
        "history": f"data/history/{task}.csv",
        "data": f"data/prepared/{task}",
    }
    for name, path in paths.items():
        assert run.data.tags[f"{name}_md5"] == content_md5(Path(path))
    assert (run.data.tags["origin"], run.data.tags["device"]) == ("training", tracking.device())

    metrics = pd.read_json(f"data/metrics/{task}.json", typ="series", precise_float=True)
    assert {name: run.data.metrics[f"test_{name}"] for name in metrics.index} == pytest.approx(dict(metrics), rel=1e-12)
    files = {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run.info.run_id, "evaluation")}
    assert files == {f"evaluation/{file.name}" for file in Path(f"data/plots/{task}").iterdir()}


@pytest.mark.parametrize("task", TASKS)
def test_the_logged_model_predicts_exactly_what_the_checkpoint_predicts(prepared: Path, task: str) -> None:
    train(task)
    uri = f"runs:/{only_run(task).info.run_id}/model"
    pictures = load_dataset(task).images[:]
    expected = load_checkpoint(Path(f"data/models/{task}.keras")).predict(pictures, verbose=0)
    np.testing.assert_array_equal(mlflow.tensorflow.load_model(uri).predict(pictures, verbose=0), expected)
    served = mlflow.pyfunc.load_model(uri)
    np.testing.assert_array_equal(served.predict(pictures), expected)
    assert served.metadata.signature.inputs.inputs[0].shape == (-1, 16, 16, 3)
    assert served.input_example.shape == (1, 16, 16, 3)


def test_a_checkpoint_without_a_run_gets_one_from_dvcs_outputs(
    prepared: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("classifier")
    trained = only_run("classifier")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, prepared / 'elsewhere.db')}")
    evaluate("classifier")
    restored = only_run("classifier")
    assert restored.info.status == "FINISHED"
    assert restored.data.tags["origin"] == "restored from DVC"
    assert restored.data.params == trained.data.params
    for name in ("model_md5", "history_md5", "data_md5"):
        assert restored.data.tags[name] == trained.data.tags[name]
    assert restored.data.metrics.items() > trained.data.metrics.items(), "the same, and the evaluation's"
    assert "test_accuracy" in restored.data.metrics
    mlflow.tensorflow.load_model(f"runs:/{restored.info.run_id}/model")


def test_evaluation_finds_the_run_of_its_checkpoint_and_history_among_others(prepared: Path) -> None:
    # Of the first two the best epoch is the first, so that their checkpoints are the same bytes.
    contradict_training(prepared / "data/prepared/classifier")
    outputs, found = {}, {}
    for name, changes in (("short", {"epochs": 2}), ("long", {"epochs": 3}), ("other", {"epochs": 2, "seed": 5})):
        write_params(prepared, **tiny(train_classifier=changes))
        train("classifier")
        outputs[name], found[name] = history_and_checkpoint("classifier"), runs("classifier")[0].info.run_id
    checkpoint, history = outputs["short"]
    assert outputs["short"][checkpoint] == outputs["long"][checkpoint] != outputs["other"][checkpoint]
    assert outputs["short"][history] != outputs["long"][history]

    for path, content in outputs["short"].items():
        path.write_bytes(content)
    evaluate("classifier")
    evaluated = [run.info.run_id for run in runs("classifier") if "test_accuracy" in run.data.metrics]
    assert evaluated == [found["short"]]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (InputError, "FAILED")])
def test_a_run_says_how_it_ended(prepared: Path, error: type[BaseException], status: str) -> None:
    params, data = load_params().train_classifier, load_dataset("classifier")
    with pytest.raises(error), tracking.training_run("classifier", params, data, "md5"):
        raise error
    assert only_run("classifier").info.status == status


def test_the_experiment_s_name_in_dvc_is_in_the_run(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "bold-idea")
    with tracking.training_run("classifier", load_params().train_classifier, load_dataset("classifier"), "md5"):
        pass
    run = only_run("classifier")
    assert run.data.tags["dvc_experiment"] == "bold-idea"
    assert run.info.run_name == "residual bold-idea"


def test_what_outlives_a_temporary_folder_names_the_repository(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc exp run --temp` works in a folder that is deleted."""
    (prepared / "mlflow.db").unlink()
    copy = prepared / "temporary"
    copy.mkdir()
    data = load_dataset("segmenter")
    monkeypatch.setenv("DVC_ROOT", str(prepared))
    monkeypatch.chdir(copy)
    with tracking.training_run("segmenter", load_params(prepared / "params.yaml").train_segmenter, data, "md5"):
        pass

    places = {name: mlflow.get_experiment_by_name(name).artifact_location for name in ("pets-segmenter", "Default")}
    assert places["pets-segmenter"] == (prepared / "mlartifacts").as_uri()
    assert places["Default"].removeprefix("file://") == str(prepared / "mlruns/0")
    (used,) = only_run("segmenter").inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("pets-segmenter", "md5")
    assert (prepared / "data/prepared/segmenter").as_uri() in used.dataset.source
    assert not list(copy.iterdir())


def test_a_deleted_experiment_is_one_line_with_the_command_that_restores_it(prepared: Path) -> None:
    experiment = tracking.connect("classifier")
    mlflow.delete_experiment(experiment)
    with pytest.raises(InputError, match=f"pets-classifier was deleted; `mlflow experiments restore -x {experiment}`"):
        tracking.connect("classifier")


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("http://me:secret@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://me:se@cret@127.0.0.1:9", "http://127.0.0.1:9"),
        ("sqlite:///text.db", "sqlite:///text.db"),
        ("nonsense://me:secret@host", "nonsense://host"),
    ],
    ids=["nobody answers", "nobody answers, odd password", "a file that is no store", "an unknown kind"],
)
def test_a_store_that_cannot_be_used_is_one_line_before_any_work(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, uri: str, named: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    Path("text.db").write_text("This is no database, and long enough for anyone to see that it is none. " * 30)
    with pytest.raises(InputError) as caught:
        train("classifier")
    line = str(caught.value)
    assert named in line
    assert "\n" not in line
    assert not any(secret in line for secret in ("me:", "secret", "se@", "cret@"))
    assert not Path("data/models").exists()
