"""The whole DAG under the real DVC, on the embedded pets: what it leaves, and what reruns after a change."""

import json
import re
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from pipeline.tasks import TASKS
from tests.helpers.project import finished_runs, run_in, start_in


def set_param(folder: Path, section: str, key: str, value: object) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[section][key] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def repro(folder: Path) -> list[str]:
    """The stages that `dvc repro` ran, in order."""
    return stages_run(run_in(folder, "dvc", "repro").stdout)


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def models(runs: list[Run]) -> list[str]:
    return [run.data.tags["model_md5"] for run in runs]


def status(folder: Path) -> str:
    return run_in(folder, "git", "status", "--porcelain").stdout


def test_every_stage_leaves_its_outputs_and_git_sees_only_what_belongs_to_it(repository: Path) -> None:
    tracked = run_in(repository, "git", "ls-files", "data", "dvc.lock").stdout.split()
    names = ("classifier", "counts_classifier", "counts_segmenter", "segmenter", "training")
    assert set(tracked) == {*(f"data/metrics/{name}.json" for name in names), "data/README.md", "dvc.lock"}
    for stage in yaml.safe_load((repository / "dvc.lock").read_text())["stages"].values():
        for out in stage["outs"]:
            assert (repository / out["path"]).exists(), out
    kept = [path for path in (repository / ".training").rglob("*") if path.is_file()]
    assert kept == [], "no state of a training that DVC has"


def test_dvc_shows_a_column_for_each_test_metric_and_all_of_them_fit_120_characters(repository: Path) -> None:
    header, *rows = run_in(repository, "dvc", "metrics", "show").stdout.splitlines()
    assert {*header.split()[1:]} == {metric.name for task in TASKS.values() for metric in task.metrics}
    assert max(map(len, [header, *rows])) <= 120


def test_a_second_repro_does_nothing(clone: Path) -> None:
    done = run_in(clone, "dvc", "repro")
    assert stages_run(done.stdout) == []
    assert "Data and pipelines are up to date." in done.stdout
    assert status(clone) == ""


def test_the_run_carries_what_dvc_lock_and_git_hold(repository: Path) -> None:
    lock = yaml.safe_load((repository / "dvc.lock").read_text())["stages"]
    md5 = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    trained_at = run_in(repository, "git", "rev-parse", "HEAD~1").stdout.strip()  # HEAD then; the outputs came after
    runs = {run.data.tags["model_md5"]: run for run in finished_runs(repository)}
    assert len(runs) == len(TASKS)
    for task in TASKS:
        run = runs[md5[f"data/models/{task}.keras"]]
        assert run.data.tags["history_md5"] == md5[f"data/history/{task}.csv"]
        assert run.data.tags["data_md5"] == md5[f"data/prepared/{task}"]
        assert run.data.tags["metrics_md5"] == md5[f"data/metrics/{task}.json"]
        assert run.data.tags["mlflow.source.git.commit"] == trained_at


@pytest.mark.slow
def test_a_changed_training_parameter_reruns_what_depends_on_it_and_back_nothing(clone: Path) -> None:
    set_param(clone, "train_classifier", "learning_rate", 0.01)
    assert repro(clone) == ["train_classifier", "evaluate_classifier", "plot"]
    (bold,) = models(finished_runs(clone))

    params = json.loads(run_in(clone, "dvc", "params", "diff", "--json").stdout)
    ((key, difference),) = params["params.yaml"].items()
    assert (key, difference["old"], difference["new"]) == ("train_classifier.learning_rate", 0.001, 0.01)
    metrics = json.loads(run_in(clone, "dvc", "metrics", "diff", "--json").stdout)
    assert set(metrics) == {"data/metrics/classifier.json"}

    set_param(clone, "train_classifier", "learning_rate", 0.001)
    done = run_in(clone, "dvc", "repro")
    assert "is cached - skipping run" in done.stdout, "DVC's run cache restores what it once made"
    assert stages_run(done.stdout) == []
    assert models(finished_runs(clone)) == [bold]


@pytest.mark.slow
def test_an_input_that_is_edited_while_a_stage_runs_never_passes_for_what_made_the_outputs(clone: Path) -> None:
    set_param(clone, "train_classifier", "epochs", 30)
    before = (clone / "dvc.lock").read_text()
    with start_in(clone, "dvc", "repro", "train_classifier") as training:
        assert any("epoch 2/" in line for line in training.stdout)
        (clone / "pipeline/training/twin.py").open("a").write("# edited")
        _, errors = training.communicate()
    assert training.returncode != 0
    assert "train_classifier: pipeline/training/twin.py: edited while train_classifier ran; " in errors
    assert (clone / "dvc.lock").read_text() == before
    assert finished_runs(clone) == [], "MLflow shows no finished run of it"


@pytest.mark.slow
def test_an_experiment_in_a_temporary_folder_runs_what_it_must_and_leaves_its_run_here(clone: Path) -> None:
    change = "preprocess.segmenter_size=24"  # no stage of the classifier depends on it
    done = run_in(clone, "dvc", "exp", "run", "--temp", "--name", "trial", "-S", change)
    assert stages_run(done.stdout) == ["preprocess_segmenter", "train_segmenter", "evaluate_segmenter", "plot"]
    assert status(clone) == "", "the work tree is as it was"

    client = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pets-segmenter")
    (run,) = client.search_runs([experiment.experiment_id], "tags.dvc_experiment = 'trial'")
    assert run.data.params["image_size"] == "24"
    assert run.data.metrics["test_mean_iou"] >= 0
    assert {"classes.csv", "worst.png"} <= {file.name for file in (clone / "mlartifacts").rglob("*")}
    used = run.inputs.dataset_inputs[0]
    assert (clone / "data/prepared/segmenter").as_uri() in used.dataset.source
