"""The commands of the workflows, run in order as GitHub does: pull requests against a bare remote, with a DVC remote.

Four retrainings, each on a fresh machine: a pull request that hurts; its second push, which changes nothing; one with a
typo; one that helps, which is merged and promoted.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import yaml

from pipeline.stage import TASKS
from pipeline.tracking.lineage import GIT_COMMIT
from pipeline.tracking.registry import WAITS
from tests.actions import Job, pretend_installed
from tests.project import REPOSITORY, commit_all, make_repository, run_in
from tests.test_pipeline import set_param, stages_run
from tests.test_report import rows, section

MODEL = "pets-classifier"


@dataclass
class Project:
    """A bare Git remote, an author's clone of it, a DVC remote, an MLflow store, and where machines start."""

    folder: Path

    @property
    def author(self) -> Path:
        return self.folder / "author"

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/store/mlflow.db"

    @property
    def shared(self) -> set[str]:
        """The files in the DVC remote."""
        return {path.name for path in (self.folder / "storage").rglob("*") if path.is_file()}

    def computed(self, **others: str) -> dict[str, str]:
        """What GitHub computes of the expressions in the workflows, for a pull request from the same repository."""
        mine = "github.event.pull_request.head.repo.full_name == github.repository"
        return {
            f"!github.event.pull_request || {mine}": "true",
            "secrets.MLFLOW_TRACKING_USERNAME": "",
            "secrets.MLFLOW_TRACKING_PASSWORD": "",
            "secrets.DVC_CONFIG_LOCAL": "",
            "vars.PETS_DATASET || 'embedded'": "official",  # params.yaml as it is, which says embedded
            "vars.PETS_SOURCE": "",
            "vars.MLFLOW_TRACKING_URI": self.store,
            "inputs.overrides": "",
            "inputs.champion": "",
            "github.event.pull_request && 'HEAD^1' || 'HEAD'": "HEAD^1",
            "github.server_url": self.folder.as_uri(),
            "github.repository": "origin.git",
            "github.token": "secret",
        } | others

    def machine(self, name: str, revision: str, cached: Path | None = None) -> Path:
        """A fresh clone at a revision, as actions/checkout makes it; with what actions/cache has of another."""
        target = self.folder / name
        run_in(self.folder, "git", "clone", "--quiet", str(self.origin), name)
        run_in(target, "git", "checkout", "--quiet", "--detach", revision)
        pretend_installed(target)
        if cached:
            shutil.copytree(cached / ".dvc/cache", target / ".dvc/cache")
            shutil.copytree(cached / ".training", target / ".training")
        return target

    def commit(self, branch: str, **changes: object) -> None:
        """Push a commit to a branch, a new one from main, with keys of params.yaml changed: section__key=value."""
        run_in(self.author, "git", "checkout", "--quiet", "-B", branch)
        for name, value in changes.items():
            set_param(self.author, *name.split("__"), value)
        commit_all(self.author, f"{branch}: {changes}")
        run_in(self.author, "git", "push", "--quiet", "--force", "origin", branch)


@dataclass
class Retraining:
    """What one push to a pull request led to."""

    machine: Path
    job: Job
    published: Job
    report: str
    shared: set[str]


def github(machine: Path, commit: str, event: dict) -> dict[str, str]:
    """The variables that every job has."""
    path = machine.with_suffix(".json")
    path.write_text(json.dumps(event))
    names = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "me/pets", "GITHUB_RUN_ID": "7"}
    return names | {"GITHUB_SHA": commit, "GITHUB_EVENT_PATH": str(path)}


def retrain(project: Project, name: str, number: int, cached: Path | None = None) -> Retraining:
    """Run both jobs for a branch, on the merge commit that GitHub makes of it and main."""
    author = project.author
    head = run_in(author, "git", "rev-parse", "HEAD").stdout.strip()
    run_in(author, "git", "checkout", "--quiet", "--detach", "main")
    run_in(author, "git", "merge", "--quiet", "--no-ff", "--message", "merge", head)
    run_in(author, "git", "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/merge-{number}")
    merge = run_in(author, "git", "rev-parse", "HEAD").stdout.strip()
    machine = project.machine(name, merge, cached)
    around = github(machine, merge, {"pull_request": {"number": number, "head": {"sha": head}}})
    job = Job("retrain.yml", "retrain", machine, project.computed(), **around)
    report = (machine / "retrained/report.md").read_text()
    pull_request = {"github.event.pull_request.number": str(number), "github.event.pull_request.head.sha": head}
    published = Job("retrain.yml", "publish", machine, project.computed(**pull_request), **around)
    return Retraining(machine, job, published, report, project.shared)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A main branch without any results."""
    project = Project(tmp_path_factory.mktemp("github"))
    (project.folder / "store").mkdir()
    project.author.mkdir()
    make_repository(project.author)
    run_in(project.author, "dvc", "remote", "add", "--default", "storage", str(project.folder / "storage"))
    commit_all(project.author, "where outputs are shared")
    run_in(project.folder, "git", "clone", "--quiet", "--bare", "author", "origin.git")
    run_in(project.author, "git", "remote", "add", "origin", str(project.origin))
    return project


@pytest.fixture(scope="module")
def hurts(project: Project) -> Retraining:
    project.commit("warmer", train_classifier__learning_rate=1.0)
    return retrain(project, "hurts", 7)


@pytest.fixture(scope="module")
def second_push(project: Project, hurts: Retraining) -> Retraining:
    run_in(project.author, "git", "checkout", "--quiet", "warmer")
    project.commit("warmer", train_classifier__learning_rate=0.001)
    return retrain(project, "second_push", 7, cached=hurts.machine)


@pytest.fixture(scope="module")
def breaks(project: Project, second_push: Retraining) -> Retraining:
    run_in(project.author, "git", "checkout", "--quiet", "main")
    project.commit("typo", train_classifier__learning_rte=0.003)
    return retrain(project, "breaks", 8)


@pytest.fixture(scope="module")
def helps(project: Project, breaks: Retraining) -> Retraining:
    """The base has a bad parameter, and results neither."""
    run_in(project.author, "git", "checkout", "--quiet", "main")
    project.commit("main", train_classifier__learning_rate=1.0)
    project.commit("cooler", train_classifier__learning_rate=0.001)
    return retrain(project, "helps", 9)


def published_report(project: Project, number: int) -> str:
    return run_in(project.origin, "git", "show", f"refs/retrained/pr-{number}:report.md").stdout


def champion(project: Project) -> str | None:
    return mlflow.MlflowClient(project.store).get_registered_model(MODEL).aliases.get("champion")


def test_a_change_that_hurts_is_reported_shared_and_fails(project: Project, hurts: Retraining) -> None:
    assert hurts.job.failed == ["Fail on a regression"]
    assert "report: worse than " in hurts.job.said["Fail on a regression"]
    assert "**Worse**: " in hurts.report
    assert rows(hurts.report, "Parameters") == {"train_classifier.learning_rate": ["0.001", "1.0"]}
    assert rows(hurts.report, "Stages")["train_segmenter"] == ["stood still", "-", "-"]
    assert rows(hurts.report, "Stages")["train_classifier"][0].startswith("ran, until ")
    assert published_report(project, 7) == hurts.report
    lock = yaml.safe_load((hurts.machine / "dvc.lock").read_text())
    outs = [out["md5"] for out in lock["stages"]["train_classifier"]["outs"]]
    assert {md5[2:] for md5 in outs} <= hurts.shared
    assert list((hurts.job.temporary / "unshared").iterdir()) == [], "the remote and the server have all"


def test_where_the_base_has_no_results_the_job_trains_it_too(hurts: Retraining) -> None:
    base, head = "Train the base, where it has no results for this data", "Retrain"
    assert {"download", "train_segmenter", "train_classifier"} <= set(stages_run(hurts.job.said[base]))
    assert stages_run(hurts.job.said[head]) == ["train_classifier", "evaluate_classifier", "plot"]


def test_what_a_pull_request_trained_waits_for_its_promotion(project: Project, hurts: Retraining) -> None:
    client = mlflow.MlflowClient(project.store)
    runs = [client.get_run(version.run_id) for version in client.search_model_versions(f"name = '{MODEL}'")]
    assert {run.data.tags["ci_pull_request"] for run in runs} == {"https://github.com/me/pets/pull/7"}
    assert {run.data.tags["champion"] for run in runs} == {WAITS}


def test_the_summary_is_the_report_without_the_pictures_that_it_cannot_show(hurts: Retraining) -> None:
    summary = hurts.job.files["GITHUB_STEP_SUMMARY"].read_text()
    assert "![" not in summary
    assert section(summary, "Metrics") == section(hurts.report, "Metrics")


def test_the_pictures_of_the_comment_are_in_the_commit_that_was_published(project: Project, hurts: Retraining) -> None:
    comment = (hurts.machine / "retrained/report.md").read_text()
    commit = run_in(hurts.machine / "retrained", "git", "rev-parse", "HEAD").stdout.strip()
    address = f"{project.folder.as_uri()}/origin.git/blob/{commit}/data/plots/curves/classifier.png"
    assert f"![curves: classifier]({address}?raw=true)" in comment
    run_in(project.origin, "git", "cat-file", "-e", f"{commit}:data/plots/curves/classifier.png")


def test_a_second_push_that_changes_nothing_replaces_the_report(project: Project, second_push: Retraining) -> None:
    assert second_push.job.failed == second_push.published.failed == []
    assert "**No test metric has changed.**" in second_push.report
    assert {cells[0] for cells in rows(second_push.report, "Stages").values()} == {"stood still"}
    assert published_report(project, 7) == second_push.report
    ran = stages_run("".join(second_push.job.said.values()))
    assert not {"download", *(f"{verb}_{task}" for verb in ("preprocess", "train") for task in TASKS)} & set(ran)


def test_a_typo_in_a_parameter_fails_and_the_report_ends_with_the_line_that_names_it(
    project: Project, second_push: Retraining, breaks: Retraining
) -> None:
    assert breaks.job.failed == ["Retrain"]
    assert "**It did not end.**" in breaks.report
    assert "train_classifier: params.yaml: train_classifier.learning_rte: unknown" in breaks.report
    assert published_report(project, 8) == breaks.report
    assert breaks.shared == second_push.shared


def test_a_change_that_helps_is_champion_once_it_is_merged_with_the_label(project: Project, helps: Retraining) -> None:
    assert helps.job.failed == []
    assert "**Better**: " in helps.report
    assert champion(project) is None
    proposed = run_in(project.author, "git", "rev-parse", "cooler").stdout.strip()
    assert promotion(project, "too_early", "another commit").failed == ["Promote"]
    assert champion(project) is None
    assert promotion(project, "promoted", proposed).failed == []
    assert champion(project) is not None


def promotion(project: Project, name: str, proposed: str) -> Job:
    machine = project.machine(name, "main")
    run_in(machine, "git", "clone", "--quiet", str(project.origin), "retrained")
    run_in(machine / "retrained", "git", "fetch", "--quiet", "origin", "refs/retrained/pr-9")
    run_in(machine / "retrained", "git", "checkout", "--quiet", "FETCH_HEAD")
    return Job("promote.yml", "promote", machine, project.computed(**{"github.event.pull_request.head.sha": proposed}))


@pytest.fixture
def single_machine(tmp_path: Path) -> Path:
    """A repository without any remote, as a runner has it."""
    machine = tmp_path / "machine"
    machine.mkdir()
    make_repository(machine)
    (machine / "demo.params").write_text("train_segmenter.epochs=1\nplot.patience=2\n")
    commit_all(machine, "demo.params")
    pretend_installed(machine)
    return machine


def start_by_hand(machine: Path, **given: str) -> Job:
    computed = {"github.event.pull_request && 'HEAD^1' || 'HEAD'": "HEAD", "vars.MLFLOW_TRACKING_URI": ""} | given
    commit = run_in(machine, "git", "rev-parse", "HEAD").stdout.strip()
    return Job("retrain.yml", "retrain", machine, Project(machine).computed(**computed), **github(machine, commit, {}))


def test_by_hand_with_overrides_on_drawn_pets_what_nothing_else_has_is_left_as_artifacts(single_machine: Path) -> None:
    given = {"vars.PETS_DATASET || 'embedded'": "embedded", "inputs.overrides": " plot.patience=1  plot.patience=3"}
    given |= {"inputs.champion": "true"}
    job = start_by_hand(single_machine, **given)
    assert job.failed == []
    report = (single_machine / "retrained/report.md").read_text()
    assert rows(report, "Parameters") == {"plot.patience": ["2", "3"]}
    assert "Set on both sides, so that what a commit says of it is not seen here: `train_segmenter.epochs: 1`" in report
    kept = job.temporary / "unshared"
    names = {path.relative_to(kept).as_posix() for path in kept.rglob("*")}
    assert {"models/classifier.keras", "history/segmenter.csv", "mlflow.db", "mlartifacts"} <= names
    client = mlflow.MlflowClient(f"sqlite:///{single_machine}/mlflow.db")
    waited = client.get_run(client.get_model_version_by_alias(MODEL, "champion").run_id).data.tags
    assert (waited["ci_commit"], waited["promoted"]) == (waited[GIT_COMMIT], "yes")


def test_a_data_set_that_does_not_exist_is_one_line(single_machine: Path) -> None:
    job = start_by_hand(single_machine, **{"vars.PETS_DATASET || 'embedded'": "cifar"})
    name = "Which data, parameters and store"
    assert job.failed == [name]
    assert job.said[name] == "::error::variable PETS_DATASET: 'cifar'; allowed: embedded, official\n"


@pytest.mark.parametrize("path", sorted((REPOSITORY / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_no_expression_of_github_is_part_of_a_shell_line(path: Path) -> None:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []
