"""The workflows, run as GitHub runs them, on a bare remote: by hand; a pull request that hurts, cancelled once; its
second push, which changes nothing; one with a typo; one that helps, merged and promoted; one from a fork.
"""

import re
from pathlib import Path

import mlflow
import pytest
import yaml

from pipeline.tasks import TASKS
from pipeline.tracking.registry import WAITS
from tests.actions import GitHub, Job
from tests.helpers.project import run_in
from tests.helpers.pullrequests import MODEL, Project, make_project, promote, report_of
from tests.test_pipeline import stages_run
from tests.test_report import rows, section

BASE = "Train the base, where it has no results for this data"
SYNC = "Log what came without a training to MLflow"
REGRESSION = "Fail on a regression"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("github"))


@pytest.fixture(scope="module")
def by_hand(project: Project) -> Job:
    return project.github.run("retrain.yml", "refs/heads/main", {}, overrides=" plot.patience=1  plot.patience=3")[
        "retrain"
    ]


@pytest.fixture(scope="module")
def cancelled(project: Project, by_hand: Job) -> dict[str, Job]:
    (project.folder / "store").mkdir()
    (project.folder / "storage").mkdir()
    project.github.vars |= {"MLFLOW_TRACKING_URI": project.store, "RETRAIN_RUNNER": "gpu"}
    project.commit("warmer", train_classifier__learning_rate=1.0)
    return project.retrain(7, "warmer", stop_at="residual epoch 3/")


@pytest.fixture(scope="module")
def hurts(project: Project, cancelled: dict[str, Job]) -> dict[str, Job]:
    return project.retrain(7, "warmer")


@pytest.fixture(scope="module")
def shared_by_hurts(project: Project, hurts: dict[str, Job]) -> set[str]:
    return project.shared


@pytest.fixture(scope="module")
def second_push(project: Project, shared_by_hurts: set[str]) -> dict[str, Job]:
    project.commit("warmer", start="warmer", train_classifier__learning_rate=0.001)
    return project.retrain(7, "warmer")


@pytest.fixture(scope="module")
def shared_before_typo(project: Project, second_push: dict[str, Job]) -> set[str]:
    return project.shared


@pytest.fixture(scope="module")
def breaks(project: Project, shared_before_typo: set[str]) -> dict[str, Job]:
    project.commit("typo", train_classifier__learning_rte=0.003)
    return project.retrain(8, "typo")


@pytest.fixture(scope="module")
def helps(project: Project, breaks: dict[str, Job]) -> dict[str, Job]:
    """The remote has what was trained with the base's bad parameter. params.yaml counts, which names drawn pets."""
    project.github.vars["PETS_DATASET"] = "official"
    project.commit("main", train_classifier__learning_rate=1.0)
    project.commit("cooler", train_classifier__learning_rate=0.001)
    return project.retrain(9, "cooler")


@pytest.fixture(scope="module")
def from_fork(project: Project, helps: dict[str, Job]) -> dict[str, Job]:
    """It mends a main that cannot be trained."""
    project.commit("main", train_classifier__learning_rte=0.003)
    run_in(project.author, "git", "checkout", "--quiet", "-B", "mended", "main")
    run_in(project.author, "git", "revert", "--no-edit", "HEAD")
    run_in(project.author, "git", "push", "--quiet", "origin", "mended")
    return project.retrain(10, "mended", of="somebody")


def test_by_hand_with_overrides_what_nothing_else_has_is_left_as_artifacts(by_hand: Job) -> None:
    assert by_hand.failed == []
    report = report_of(by_hand)
    assert rows(report, "Parameters") == {"plot.patience": ["2", "3"]}
    hidden = "`evaluate_segmenter.grid_pictures: 1` instead of `2`"
    assert f"Set on both sides, so that what a commit says of it is not seen here: {hidden}.\n" in report
    kept = by_hand.artifacts / "unshared"
    names = {path.relative_to(kept).as_posix() for path in kept.rglob("*")}
    assert "PULL=\n" in by_hand.files["GITHUB_ENV"].read_text(), "the remote is a folder of somebody else's"
    assert {"models/classifier.keras", "history/segmenter.csv", "mlflow.db", "mlartifacts"} <= names


def test_where_the_base_has_no_results_the_job_trains_it_too(by_hand: Job) -> None:
    assert {f"train_{task}" for task in TASKS} <= set(stages_run(by_hand.said["Retrain"]))
    assert stages_run(by_hand.said[BASE]) == ["plot"], "DVC has the others of the head's training"
    assert rows(report_of(by_hand), "Stages")["train_classifier"][0] == "stood still"


def test_a_cancelled_training_goes_on_in_the_next_run(cancelled: dict[str, Job], hurts: dict[str, Job]) -> None:
    assert list(cancelled) == ["retrain"], "nothing is published"
    assert cancelled["retrain"].cancelled
    epochs = re.findall(r"residual epoch (\d+)/", hurts["retrain"].said["Retrain"])
    assert int(epochs[0]) > 1
    assert epochs[-1] == "12"


def test_a_change_that_hurts_is_reported_shared_and_fails(
    project: Project, hurts: dict[str, Job], shared_by_hurts
) -> None:
    job, report = hurts["retrain"], report_of(hurts["retrain"])
    assert job.failed == [REGRESSION]
    assert "report: worse than " in job.said[REGRESSION]
    assert "**Worse**: " in report
    assert rows(report, "Parameters") == {"train_classifier.learning_rate": ["0.001", "1.0"]}
    assert rows(report, "Stages")["train_segmenter"] == ["stood still", "-", "-"]
    assert rows(report, "Stages")["train_classifier"][0].startswith("ran, until ")
    lock = yaml.safe_load((job.artifacts / "retrained/dvc.lock").read_text())
    outs = [out["md5"] for out in lock["stages"]["train_classifier"]["outs"]]
    assert {md5[2:] for md5 in outs} <= shared_by_hurts
    assert list((job.artifacts / "unshared").iterdir()) == [], "the remote and the server have all"
    assert not (job.machine / ".dvc/config.local").exists(), "the secret"


def test_what_a_pull_request_trained_waits_for_its_promotion(project: Project, hurts: dict[str, Job]) -> None:
    client = mlflow.MlflowClient(project.store)
    runs = [client.get_run(version.run_id) for version in client.search_model_versions(f"name = '{MODEL}'")]
    assert {run.data.tags["ci_pull_request"].rpartition("/")[2] for run in runs} >= {"7"}
    assert "yes" not in {run.data.tags["champion"][:3] for run in runs if "promoted" not in run.data.tags}
    assert WAITS in {run.data.tags["champion"] for run in runs}


def test_the_summary_is_the_report_without_the_pictures_that_it_cannot_show(hurts: dict[str, Job]) -> None:
    summary = hurts["retrain"].files["GITHUB_STEP_SUMMARY"].read_text()
    assert "![" not in summary
    assert section(summary, "Metrics") == section(report_of(hurts["retrain"]), "Metrics")


def test_a_comment_has_the_report_with_pictures_of_a_commit_of_it_and_is_replaced(
    project: Project, hurts: dict[str, Job], second_push: dict[str, Job]
) -> None:
    repository = hurts["publish"].machine / "retrained"
    commit = run_in(repository, "git", "rev-parse", "HEAD").stdout.strip()
    run_in(repository, "git", "cat-file", "-e", f"{commit}:data/plots/classifier/samples.png")
    address = f"{project.github.origin.as_uri()}/blob/{commit}/data/plots/classifier/samples.png"
    assert f"![classifier: samples]({address}?raw=true)" in (repository / "report.md").read_text()
    assert project.published(7) == report_of(second_push["retrain"])
    assert list(project.github.comments) == ["retraining"]


def test_a_second_push_that_changes_nothing_trains_nothing(second_push: dict[str, Job]) -> None:
    job, report = second_push["retrain"], report_of(second_push["retrain"])
    assert job.failed == second_push["publish"].failed == []
    assert "**No test metric has changed.**" in report
    assert {cells[0] for cells in rows(report, "Stages").values()} == {"stood still"}
    assert stages_run("".join(job.said.values())) == []


def test_a_typo_in_a_parameter_fails_and_the_report_ends_with_the_line_that_names_it(
    project: Project, shared_before_typo: set[str], breaks: dict[str, Job]
) -> None:
    assert breaks["retrain"].failed == ["Retrain"]
    assert BASE not in breaks["retrain"].said, "a base is not trained for nothing"
    report = project.published(8)
    assert "**It did not end.**" in report
    assert "train_classifier: params.yaml: train_classifier.learning_rte: unknown" in report
    assert project.shared == shared_before_typo


def test_a_base_whose_outputs_are_in_the_remote_is_not_trained_again(helps: dict[str, Job]) -> None:
    assert "train_classifier" not in stages_run(helps["retrain"].said[BASE])
    assert rows(report_of(helps["retrain"]), "Parameters") == {"train_classifier.learning_rate": ["1.0", "0.001"]}


def test_pictures_of_the_data_set_are_published_of_drawn_pets_only(project: Project, helps: dict[str, Job]) -> None:
    files = run_in(project.github.origin, "git", "ls-tree", "-r", "--name-only", "refs/retrained/pr-9").stdout
    drawn = {name for name in files.split() if name.endswith(".png")}
    assert {Path(name).stem for name in drawn} == {"segmenter", "classifier", "confusion"}
    assert set(re.findall(r"!\[(.*)\]", project.published(9))) == {"curves: segmenter", "curves: classifier"}


def test_a_change_that_helps_is_champion_once_it_is_merged_with_the_label(
    project: Project, helps: dict[str, Job]
) -> None:
    assert helps["retrain"].failed == []
    assert "**Better**: " in report_of(helps["retrain"])
    before = project.champion()
    _, event = project.github.pull_request(9, "cooler")
    assert promote(project, event, labels=[]) == {}
    assert promote(project, event, merged=False) == {}
    other = project.github.pull_request(9, "main")[1]
    late = promote(project, other)["promote"]
    assert late.failed == ["Promote"]
    assert (
        f"::error::what was merged, {other['pull_request']['head']['sha']}, was not retrained" in late.said["Promote"]
    )
    never = promote(project, project.github.pull_request(99, "main")[1])["promote"]
    assert ", was not retrained" in never.said["Promote"]
    assert project.champion() == before
    assert promote(project, event)["promote"].failed == []
    assert project.champion() not in (before, None)


def test_a_pull_request_from_a_fork_gets_a_hosted_runner_and_neither_remote_nor_server(
    project: Project, helps: dict[str, Job], from_fork: dict[str, Job]
) -> None:
    assert list(from_fork) == ["retrain"], "nothing that may write"
    job, settings = from_fork["retrain"], from_fork["retrain"].files["GITHUB_ENV"].read_text()
    assert job.failed == []
    assert (helps["retrain"].runs_on, job.runs_on) == ("gpu", "ubuntu-24.04")
    assert "MLFLOW_TRACKING_URI" not in settings
    assert "PULL=\n" in settings
    assert "DATASET=embedded\n" in settings
    assert (job.artifacts / "unshared/mlflow.db").is_file()


def test_a_base_that_cannot_be_trained_is_no_comparison(from_fork: dict[str, Job]) -> None:
    assert "::warning::the base cannot be trained" in from_fork["retrain"].said[BASE]
    report = report_of(from_fork["retrain"])
    assert "**No comparison**: the base has no results." in report
    assert rows(report, "Parameters") == {"train_classifier.learning_rte": ["0.003", "-"]}


def test_a_server_that_is_away_costs_neither_the_report_nor_what_is_shared(
    project: Project, by_hand: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = GitHub(project.github.origin, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, {}, project.github.caches)
    away.runs = 100
    job = away.run("retrain.yml", "refs/heads/warmer", {})["retrain"]
    assert job.failed == [SYNC]
    assert "the MLflow store http://127.0.0.1:9 cannot be used: " in section(report_of(job), "Models")
