"""One run per training, live while it works, whole when it ends, tied to DVC's outputs by their md5. On both stores."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from pipeline.evaluate import evaluate
from pipeline.inputs import content_md5
from pipeline.params import load_params
from pipeline.tasks import TASKS
from pipeline.tracking.search import search
from pipeline.train import train
from pipeline.training.devices import device
from tests.helpers.petsbuilder import picture
from tests.helpers.project import commit_all, run_in, tiny, write_params
from tests.helpers.training import contradict_training, lock_outputs, logged, only_run, runs


def history_and_checkpoint(task: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (Path(f"data/models/{task}.keras"), Path(f"data/history/{task}.csv"))}


@pytest.mark.parametrize("task", TASKS)
def test_one_run_holds_the_training_the_checkpoint_and_the_evaluation(store: Path, task: str) -> None:
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
        "metrics": f"data/metrics/{task}.json",
        "plots": f"data/plots/{task}",
    }
    for name, path in paths.items():
        assert run.data.tags[f"{name}_md5"] == content_md5(Path(path))
    assert (run.data.tags["origin"], run.data.tags["device"]) == ("python -m pipeline.train", device("mixed"))

    metrics = pd.read_json(f"data/metrics/{task}.json", typ="series", precise_float=True)
    assert {name: run.data.metrics[f"test_{name}"] for name in metrics.index} == dict(metrics), "to the last digit"
    headline = {"segmenter": "mean_iou", "classifier": "accuracy"}[task]
    low, high = metrics[f"{headline}_low"], metrics[f"{headline}_high"]
    row = f"| {headline} | {metrics[headline]:.4f} | {low:.4f} to {high:.4f} |"
    assert row in run.data.tags["mlflow.note.content"].splitlines()
    files = {artifact.path for artifact in mlflow.MlflowClient().list_artifacts(run.info.run_id, "evaluation")}
    assert files == {f"evaluation/{file.name}" for file in Path(f"data/plots/{task}").iterdir()}


def test_the_model_in_the_store_is_the_checkpoint_byte_for_byte_and_knows_its_test_metrics(store: Path) -> None:
    train("classifier")
    evaluate("classifier")
    run = only_run("classifier")
    (output,) = run.outputs.model_outputs
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{output.model_id}"))
    checkpoints = list(folder.rglob("*.keras"))
    assert [content_md5(path) for path in checkpoints] == [run.data.tags["model_md5"]]

    answer = mlflow.pyfunc.load_model(f"models:/{output.model_id}").predict(pd.DataFrame({"picture": [picture("A_1")]}))
    assert answer["label"][0] in ("cat", "dog")
    metrics = {metric.key: metric.value for metric in mlflow.get_logged_model(output.model_id).metrics}
    assert metrics["test_accuracy"] == run.data.metrics["test_accuracy"]


def test_commit_and_patch_of_the_run_are_the_code_and_the_parameters_that_trained(prepared: Path) -> None:
    Path("pipeline").mkdir()
    Path("pipeline/old.py").write_text("a = 1\n")
    run_in(prepared, "git", "init", "--quiet")
    run_in(prepared, "git", "config", "user.name", "test")
    run_in(prepared, "git", "config", "user.email", "test@example.org")
    commit_all(prepared, "as it was")
    Path("pipeline/old.py").write_text("a = 2\n")
    Path("pipeline/new.py").write_text("b = 3\n")
    Path("README.md").write_text("decides nothing")
    run_in(prepared, "git", "add", "README.md")
    staged = run_in(prepared, "git", "diff", "--cached").stdout
    train("classifier")
    assert run_in(prepared, "git", "diff", "--cached").stdout == staged, "the user's index is as it was"

    run = only_run("classifier")
    assert run.data.tags["uncommitted"] == "pipeline/new.py, pipeline/old.py"
    patch = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="uncommitted.patch")
    run_in(prepared, "git", "stash", "--quiet", "--include-untracked", "--", "pipeline")
    assert Path("pipeline/old.py").read_text() == "a = 1\n"
    run_in(prepared, "git", "apply", patch)
    assert (Path("pipeline/old.py").read_text(), Path("pipeline/new.py").read_text()) == ("a = 2\n", "b = 3\n")


def test_the_run_names_the_prepared_pictures_that_it_learns_from_as_its_inputs(prepared: Path) -> None:
    train("segmenter")
    md5, found = content_md5(Path("data/prepared/segmenter")), {}
    for used in only_run("segmenter").inputs.dataset_inputs:
        assert used.dataset.digest == md5
        assert (prepared / "data/prepared/segmenter").as_uri() in used.dataset.source
        (context,) = [tag.value for tag in used.tags]
        found[used.dataset.name] = (context, json.loads(used.dataset.profile)["num_rows"])
    assert found == {"pets-segmenter train": ("training", 10), "pets-segmenter validation": ("validation", 4)}


def test_a_checkpoint_without_a_run_gets_one_when_it_is_evaluated(prepared: Path) -> None:
    train("classifier")
    trained = only_run("classifier")
    mlflow.MlflowClient().set_tag(trained.info.run_id, "model_md5", "of another checkpoint")
    evaluate("classifier")
    restored, _ = runs("classifier")
    assert restored.info.status == "FINISHED"
    assert restored.data.tags["origin"] == "restored from DVC"
    assert restored.data.params == trained.data.params
    for name in ("history_md5", "data_md5"):
        assert restored.data.tags[name] == trained.data.tags[name]
    assert restored.data.metrics.items() > trained.data.metrics.items(), "the same, and the evaluation's"
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert logged(restored, name) == logged(trained, name)


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

    write_params(prepared, **tiny(train_classifier={"epochs": 2}))
    for path, content in outputs["short"].items():
        path.write_bytes(content)
    evaluate("classifier")
    evaluated = [run.info.run_id for run in runs("classifier") if "test_accuracy" in run.data.metrics]
    assert evaluated == [found["short"]]


def test_parameters_that_were_edited_after_the_training_do_not_get_into_its_run(prepared: Path) -> None:
    train("classifier")
    lock_outputs()
    write_params(prepared, **tiny(train_classifier={"seed": 77}))
    evaluate("classifier")
    assert only_run("classifier").data.params["seed"] == "1337"
    assert "test_accuracy" in only_run("classifier").data.metrics


def test_the_same_training_again_leaves_one_run_and_one_evaluation(store: Path) -> None:
    for _ in range(2):
        train("classifier")
        evaluate("classifier")
    run = only_run("classifier")
    assert run.data.tags["repeats"] == "1"
    assert len(logged(run, "test_accuracy")) == 1
    assert [step for step, _ in logged(run, "loss")] == [1, 2, 3]
    deleted = search("classifier", view=mlflow.entities.ViewType.DELETED_ONLY)
    assert [repeat.data.tags["repeat_of"] for repeat in deleted] == [run.info.run_id]


def test_a_changed_evaluation_replaces_the_figures_of_the_run(store: Path) -> None:
    train("classifier")
    evaluate("classifier")
    before = only_run("classifier")
    mlflow.MlflowClient().set_tag(before.info.run_id, "mlflow.note.content", "mine")
    write_params(store, **tiny(evaluate_classifier={"seed": 5}))
    evaluate("classifier")
    after = only_run("classifier")
    assert after.data.tags["metrics_md5"] == content_md5(Path("data/metrics/classifier.json"))
    assert after.data.tags["metrics_md5"] != before.data.tags["metrics_md5"]
    assert after.data.tags["mlflow.note.content"] == "mine", "what a person wrote stays"
    written = pd.read_json("data/metrics/classifier.json", typ="series", precise_float=True)
    assert after.data.metrics["test_roc_auc_low"] == written["roc_auc_low"]
