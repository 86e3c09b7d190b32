"""The whole DAG under the real DVC, on the embedded pets: what it leaves, and what a changed parameter sets going."""

import json
import re
from contextlib import chdir
from pathlib import Path

import mlflow
import networkx
import pytest
import yaml
from dvc.repo import Repo
from mlflow.entities import Run

from pipeline.tasks import TASKS
from pipeline.tracking.sync import sync
from tests.helpers.project import REPOSITORY, finished_runs, run_in

PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
KEYS = [(section, key) for section, keys in PARAMS.items() for key in keys]
SHARED = ("validation_fraction", "max_reject_fraction", "seed")
DEPENDENT = {  # what runs after a stage because of it
    "download": [*(f"{verb}_{task}" for verb in ("preprocess", "train", "evaluate") for task in TASKS), "plot"],
    "preprocess_segmenter": ["train_segmenter", "evaluate_segmenter", "plot"],
    "preprocess_classifier": ["train_classifier", "evaluate_classifier", "plot"],
    "train_segmenter": ["evaluate_segmenter", "plot"],
    "train_classifier": ["evaluate_classifier", "plot"],
    "evaluate_segmenter": [],
    "evaluate_classifier": [],
    "plot": [],
}


def stages_of(section: str, key: str) -> list[str]:
    """Those that a parameter decides: the one of the section's name; the tasks share most of `preprocess`."""
    if section != "preprocess":
        return [section]
    return [f"preprocess_{task}" for task in TASKS if key in (f"{task}_size", *SHARED)]


def set_param(folder: Path, section: str, key: str, value: object) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[section][key] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def repro(folder: Path) -> list[str]:
    """The stages that `dvc repro` ran, in order."""
    return stages_run(run_in(folder, "dvc", "repro").stdout)


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def ids(runs: list[Run]) -> list[str]:
    return [run.info.run_id for run in runs]


def status(folder: Path) -> str:
    return run_in(folder, "git", "status", "--porcelain").stdout


@pytest.fixture
def edited(repository: Path):
    """Set a parameter in the repository; put it back afterwards."""
    before = (repository / "params.yaml").read_text()
    yield lambda section, key, value: set_param(repository, section, key, value)
    (repository / "params.yaml").write_text(before)


@pytest.fixture
def changed(repository: Path, edited):
    """Set a parameter in the repository; put it, the outputs and the store back afterwards."""
    yield edited
    run_in(repository, "git", "checkout", "--quiet", ".")
    run_in(repository, "dvc", "checkout", "--quiet")
    assert status(repository) == ""
    with chdir(repository):
        sync([])  # a run shows the evaluation of the work tree, which is again the first one


def test_every_stage_leaves_its_outputs_and_git_sees_only_what_belongs_to_it(repository: Path) -> None:
    tracked = run_in(repository, "git", "ls-files", "data", "dvc.lock").stdout.split()
    names = ("classifier", "preprocess_classifier", "preprocess_segmenter", "segmenter", "training")
    assert tracked == [*(f"data/metrics/{name}.json" for name in names), "dvc.lock"]
    for stage in STAGES.values():
        for out in [*stage.get("outs", []), *(next(iter(metric)) for metric in stage.get("metrics", []))]:
            assert (repository / out).exists(), out


def test_a_second_repro_does_nothing(repository: Path) -> None:
    done = run_in(repository, "dvc", "repro")
    assert stages_run(done.stdout) == []
    assert "Data and pipelines are up to date." in done.stdout
    assert status(repository) == ""


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_parameter_makes_its_own_stage_stale_and_what_depends_on_it(
    repository: Path, edited, monkeypatch: pytest.MonkeyPatch, section: str, key: str
) -> None:
    before = yaml.safe_load((repository / "params.yaml").read_text())[section][key]
    edited(section, key, before + "x" if isinstance(before, str) else int(before) + 1)
    monkeypatch.chdir(repository)
    with Repo() as repo:
        assert set(repo.status()) == set(stages_of(section, key))  # its own, not yet what depends on it
        for name in stages_of(section, key):
            (stage,) = repo.stage.collect(name)
            dependent = networkx.ancestors(repo.index.graph, stage)  # DVC's arrows point to what a stage depends on
            assert {found.name for found in dependent} == set(DEPENDENT[name])


def test_every_stage_has_a_parameter_and_every_parameter_a_stage() -> None:
    assert set(STAGES) == set(DEPENDENT) == {name for parameter in KEYS for name in stages_of(*parameter)}


def test_a_changed_training_parameter_reruns_what_depends_on_it_and_back_nothing(repository: Path, changed) -> None:
    before = ids(finished_runs(repository))
    changed("train_classifier", "learning_rate", 0.01)
    assert repro(repository) == ["train_classifier", *DEPENDENT["train_classifier"]]
    after = ids(finished_runs(repository))
    assert len(after) == len(before) + 1

    params = json.loads(run_in(repository, "dvc", "params", "diff", "--json").stdout)
    ((key, difference),) = params["params.yaml"].items()
    assert (key, difference["old"], difference["new"]) == ("train_classifier.learning_rate", 0.001, 0.01)
    metrics = json.loads(run_in(repository, "dvc", "metrics", "diff", "--json").stdout)
    assert set(metrics) == {"data/metrics/classifier.json", "data/metrics/training.json"}
    plots = json.loads(run_in(repository, "dvc", "plots", "diff", "--json").stdout)["data"]
    for task, is_other in (("classifier", True), ("segmenter", False)):
        losses = {"HEAD": [], "workspace": []}
        for row in plots[f"{task} loss"][0]["content"]["data"]["values"]:
            losses[row["rev"]].append(row["val_loss"])
        assert len(losses["HEAD"]) == len(losses["workspace"]) == 6
        assert (losses["HEAD"] != losses["workspace"]) == is_other
    page = run_in(repository, "dvc", "plots", "diff").stdout.strip()
    assert "classifier loss" in Path(page.removeprefix("file://")).read_text()

    changed("train_classifier", "learning_rate", 0.001)
    done = run_in(repository, "dvc", "repro")
    assert "is cached - skipping run" in done.stdout, "DVC's run cache restores what it once made"
    assert stages_run(done.stdout) == []
    assert ids(finished_runs(repository)) == after, "of which the store has the runs"


def test_a_parameter_of_the_last_stage_reruns_only_that(repository: Path, changed) -> None:
    changed("plot", "patience", 1)
    assert repro(repository) == ["plot"]


def test_a_wrong_parameter_stops_the_pipeline_and_loses_nothing(repository: Path, changed) -> None:
    before = (repository / "dvc.lock").read_text()
    changed("plot", "patience", 0)
    done = run_in(repository, "dvc", "repro", check=False)
    assert done.returncode != 0
    assert "plot: params.yaml: plot.patience: 0: should be greater than or equal to 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert (repository / "dvc.lock").read_text() == before


def test_the_run_carries_what_dvc_lock_and_git_hold(repository: Path) -> None:
    lock = yaml.safe_load((repository / "dvc.lock").read_text())["stages"]
    md5 = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    trained_at = run_in(repository, "git", "rev-parse", "HEAD~1").stdout.strip()  # HEAD then; the outputs came after
    client = mlflow.MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
    for task in TASKS:
        experiment = client.get_experiment_by_name(f"pets-{task}")
        assert experiment.artifact_location == (repository / "mlartifacts").as_uri()
        wanted = f"tags.model_md5 = '{md5[f'data/models/{task}.keras']}'"
        (run,) = client.search_runs([experiment.experiment_id], wanted)
        assert run.data.tags["history_md5"] == md5[f"data/history/{task}.csv"]
        assert run.data.tags["data_md5"] == md5[f"data/prepared/{task}"]
        assert run.data.tags["mlflow.source.git.commit"] == trained_at


def test_an_experiment_in_a_temporary_folder_runs_what_it_must_and_leaves_its_run_here(repository: Path) -> None:
    change = "preprocess.segmenter_size=24"  # of which nothing of the classifier depends
    done = run_in(repository, "dvc", "exp", "run", "--temp", "--name", "trial", "-S", change)
    assert stages_run(done.stdout) == ["preprocess_segmenter", "train_segmenter", "evaluate_segmenter", "plot"]
    assert status(repository) == "", "the work tree is as it was"

    client = mlflow.MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pets-segmenter")
    (run,) = client.search_runs([experiment.experiment_id], "tags.dvc_experiment = 'trial'")
    assert run.data.params["image_size"] == "24"
    assert run.data.metrics["test_mean_iou"] >= 0
    files = {file.name for file in (repository / "mlartifacts").rglob("*") if run.info.run_id in str(file)}
    assert {"classes.csv", "worst.png"} <= files
    used = run.inputs.dataset_inputs[0]
    assert (repository / "data/prepared/segmenter").as_uri() in used.dataset.source
