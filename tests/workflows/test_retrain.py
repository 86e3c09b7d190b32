"""The scripts that retrain.yml and promote.yml call, with real Git, DVC and MLflow: one story, tiny trainings."""

import hashlib
import re
from pathlib import Path

import mlflow
import pytest
import yaml

from pipeline.tasks import TASKS
from pipeline.tracking.registry import WAITS
from tests.helpers.project import run_in
from tests.workflows.project import MODEL, Machine, Project

pytestmark = pytest.mark.slow
AWAY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def by_hand(project: Project) -> Machine:
    """Nothing has been trained, and the DVC remote is a folder that this machine lacks."""
    return project.retrain("main", " plot.overfit_after=1  plot.overfit_after=3")


@pytest.fixture(scope="module")
def hurts(project: Project, by_hand: Machine) -> Machine:
    project.storage.mkdir()
    project.commit("warmer", train_classifier={"learning_rate": 1.0})
    summary = str(project.folder / "summary.md")
    return project.retrain("warmer", after=by_hand, GITHUB_STEP_SUMMARY=summary, **project.at_github(7))


@pytest.fixture(scope="module")
def helps(project: Project, hurts: Machine) -> Machine:
    """The remote has what was trained with the base's bad parameter."""
    project.commit("main", train_classifier={"learning_rate": 1.0})
    project.commit("cooler", train_classifier={"learning_rate": 0.001})
    return project.retrain("cooler", **project.at_github(9))


def publish(project: Project, machine: Machine, number: int, commit: str) -> str:
    """Run .ci/publish. Returns the commit that it has pushed."""
    run_in(machine.folder, ".ci/publish", project.origin.as_uri(), str(number), commit)
    return run_in(project.origin, "git", "rev-parse", f"refs/retrained/pr-{number}").stdout.strip()


def test_overrides_set_parameters_and_without_remote_and_server_all_is_left_as_files_uncommitted(
    by_hand: Machine,
) -> None:
    assert by_hand.code == 0, by_hand.said
    assert by_hand.rows("Parameters") == {"plot.overfit_after": ["2", "3"]}
    assert {"models/classifier.keras", "history/segmenter.csv", "mlflow.db", "mlartifacts"} <= by_hand.unshared
    assert run_in(by_hand.folder, "git", "branch", "--show-current").stdout == "main\n"
    run_in(by_hand.folder, "git", "diff", "--exit-code", "origin/main", "HEAD")
    assert "dvc.lock" in run_in(by_hand.folder, "git", "status", "--porcelain").stdout


def test_a_base_without_results_is_trained_too_as_far_as_the_change_did_not_train_it(by_hand: Machine) -> None:
    assert {f"train_{task}" for task in TASKS} <= {*by_hand.stages("change")}
    assert by_hand.stages("base") == ["plot"]
    assert by_hand.rows("Stages")["train_classifier"][0] == "unchanged"


def test_a_change_that_hurts_is_reported_and_shared_and_fails(project: Project, hurts: Machine) -> None:
    """The summary is the report without its pictures."""
    assert hurts.code == 1
    assert "report: worse than " in hurts.said
    assert "**Worse**: " in hurts.report
    assert hurts.rows("Parameters") == {"train_classifier.learning_rate": ["0.001", "1.0"]}
    assert hurts.rows("Stages")["train_segmenter"][0] == "unchanged"
    assert "Both sides ran with `download.dataset=embedded plot.overfit_after=2`.\n" in hurts.report
    lock = yaml.safe_load((hurts.folder / "retrained/dvc.lock").read_text())
    assert {out["md5"][2:] for out in lock["stages"]["train_classifier"]["outs"]} <= project.shared()
    assert hurts.unshared == set(), "the remote and the server have all"
    assert (project.folder / "summary.md").read_text() == re.sub(r"(?m)^!\[.*\n", "", hurts.report)


def test_what_a_pull_request_trained_is_not_champion(project: Project, hurts: Machine) -> None:
    client = mlflow.MlflowClient(project.store)
    runs = [client.get_run(version.run_id) for version in client.search_model_versions(f"name = '{MODEL}'")]
    assert {run.data.tags["ci_pull_request"].rpartition("/")[2] for run in runs} == {"7"}
    assert {run.data.tags["champion"] for run in runs} == {WAITS}


def test_the_pictures_of_a_published_report_are_those_of_its_commit(project: Project, hurts: Machine) -> None:
    commit = publish(project, hurts, 7, "1" * 40)
    address = f"{project.origin.as_uri()}/blob/{commit}/data/plots/classifier/samples.png"
    assert f"![classifier: samples]({address}?raw=true)" in hurts.report
    run_in(project.origin, "git", "cat-file", "-e", f"{commit}:data/plots/classifier/samples.png")


def test_a_typo_fails_with_the_line_that_names_it_in_the_report(project: Project, hurts: Machine) -> None:
    before = project.shared()
    project.commit("typo", train_classifier={"learning_rte": 0.003})
    typo = project.retrain("typo", after=hurts)
    assert typo.code == 1
    assert "**It did not end.**" in typo.report
    assert "train_classifier: params.yaml: train_classifier.learning_rte: unknown" in typo.report
    assert "== The base" not in typo.said, "a base is not trained for nothing"
    assert project.shared() == before


def test_a_base_whose_outputs_are_in_the_remote_is_not_trained_again(helps: Machine) -> None:
    assert helps.code == 0, helps.said
    assert "**Better**: " in helps.report
    assert "train_classifier" not in helps.stages("base")
    assert helps.rows("Parameters") == {"train_classifier.learning_rate": ["1.0", "0.001"]}


def test_only_what_was_retrained_of_the_merged_commit_is_promoted(project: Project, helps: Machine) -> None:
    commit = run_in(project.author, "git", "rev-parse", "cooler").stdout.strip()
    publish(project, helps, 9, commit)
    machine, before = project.machine(), project.champion()

    def promote(number: int, commit: str) -> tuple[int, str]:
        origin = ("origin", f"refs/retrained/pr-{number}", commit)
        done = run_in(machine, ".ci/promote", *origin, check=False, MLFLOW_TRACKING_URI=project.store)
        return done.returncode, done.stdout

    assert promote(9, "2" * 40) == (1, f"what was merged, {'2' * 40}, was not retrained\n")
    assert promote(99, commit) == (1, f"what was merged, {commit}, was not retrained\n")
    assert project.champion() == before is None
    assert promote(9, commit)[0] == 0
    assert project.champion()


def test_photographs_are_not_published(project: Project, helps: Machine) -> None:
    """The drawn archives, as if they were official ones: the same bytes, so that only download runs."""
    source = helps.folder / "data/raw"
    archives = {f"{name}_sha256": f"{name}.tar.gz" for name in ("images", "annotations")}
    sha256 = {key: hashlib.sha256((source / name).read_bytes()).hexdigest() for key, name in archives.items()}
    project.commit("official", download={"dataset": "official"} | sha256)
    official = project.retrain("official", after=helps, PETS_DATASET="official", PETS_SOURCE=str(source))
    assert official.code == 0, official.said
    assert not {*official.stages("change")} & {"train_segmenter", "train_classifier"}
    pictures = {path.relative_to(official.folder).as_posix() for path in official.folder.glob("retrained/**/*.png")}
    charts = {"confusion", "roc", "breeds", "calibration"}
    assert {Path(path).stem for path in pictures} == {"segmenter", "classifier"} | charts
    assert {*re.findall(r"!\[(.*)\]", official.report)} <= {"curves: segmenter", "curves: classifier"}
    assert "plots/segmenter/samples.png" in str([*official.folder.glob("data/plots/*/*.png")]), "they are here"


def test_a_server_that_is_away_costs_neither_the_report_nor_what_is_shared(project: Project, helps: Machine) -> None:
    away = project.retrain("cooler", after=helps, **AWAY)
    assert away.code == 1
    assert away.said.splitlines()[-1] == "failed, see above: sync"
    assert "the MLflow store http://127.0.0.1:9 cannot be used: " in away.report.partition("## Models")[2]
    assert "models/classifier.keras" not in away.unshared


def test_a_stranger_gets_drawn_pets_and_neither_remote_nor_server(project: Project, helps: Machine) -> None:
    """Its change mends a main that cannot be trained, which is no comparison."""
    mended = project.commit("main", train_classifier={"learning_rte": 0.003})
    run_in(project.author, "git", "checkout", "--quiet", "-B", "mended", "main")
    run_in(project.author, "git", "revert", "--no-edit", mended)
    run_in(project.author, "git", "push", "--quiet", "origin", "mended")
    before = project.shared()
    stranger = project.retrain("mended", after=helps, TRUSTED="false", PETS_DATASET="official", **AWAY)
    assert stranger.code == 0, stranger.said
    assert {"mlflow.db", "models/segmenter.keras"} <= stranger.unshared
    assert project.shared() == before
    assert "dataset: embedded" in (stranger.folder / "retrained/params.yaml").read_text()
    assert "the base cannot be trained, see above" in stranger.said
    assert "**No comparison**: the base has no results." in stranger.report
    assert stranger.rows("Parameters") == {"train_classifier.learning_rte": ["0.003", "-"]}
