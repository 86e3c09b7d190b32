"""A project at GitHub whose pull requests are retrained, with an author's clone, a DVC remote and an MLflow store."""

from dataclasses import dataclass
from pathlib import Path

import mlflow

from tests.actions import GitHub, Job
from tests.helpers.project import commit_all, make_repository, run_in
from tests.test_pipeline import set_param

MODEL = "pets-classifier"


def make_project(folder: Path) -> "Project":
    """A main branch without any results; no server. The DVC remote is a folder that is not there, named by a secret."""
    project = Project(folder, GitHub(folder / "origin.git"))
    project.author.mkdir()
    make_repository(project.author, train_classifier={"epochs": 12})
    (project.author / "demo.params").write_text("plot.patience=2\nevaluate_segmenter.grid_pictures=1\n")
    run_in(project.author, "dvc", "remote", "add", "storage", "../storage")
    project.github.secrets["DVC_CONFIG_LOCAL"] = "[core]\n    remote = storage"
    commit_all(project.author, "demo.params, a remote")
    run_in(folder, "git", "clone", "--quiet", "--bare", "author", "origin.git")
    run_in(project.author, "git", "remote", "add", "origin", str(project.github.origin))
    return project


@dataclass
class Project:
    """The repository at GitHub, an author's clone of it, a DVC remote, an MLflow store."""

    folder: Path
    github: GitHub

    @property
    def author(self) -> Path:
        return self.folder / "author"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/store/mlflow.db"

    @property
    def shared(self) -> set[str]:
        """The files in the DVC remote."""
        return {path.name for path in (self.folder / "storage").rglob("*") if path.is_file()}

    def commit(self, branch: str, start: str = "main", **changes: object) -> None:
        """Push a commit on top of another to a branch, with keys of params.yaml changed: section__key=value."""
        run_in(self.author, "git", "checkout", "--quiet", "-B", branch, start)
        for name, value in changes.items():
            set_param(self.author, *name.split("__"), value)
        commit_all(self.author, f"{branch}: {changes}")
        run_in(self.author, "git", "push", "--quiet", "--force", "origin", branch)

    def retrain(self, number: int, branch: str, of: str = "", stop_at: str = "") -> dict[str, Job]:
        """Run the workflow for a pull request of a branch."""
        return self.github.run("retrain.yml", *self.github.pull_request(number, branch, of=of), stop_at=stop_at)

    def published(self, number: int) -> str:
        """The report in the ref of a pull request."""
        return run_in(self.github.origin, "git", "show", f"refs/retrained/pr-{number}:report.md").stdout

    def champion(self) -> str | None:
        return mlflow.MlflowClient(self.store).get_registered_model(MODEL).aliases.get("champion")


def report_of(job: Job) -> str:
    return (job.artifacts / "retrained/report.md").read_text()


def promote(project: Project, event: dict, merged: bool = True, labels: tuple | list = ("champion",)) -> dict[str, Job]:
    """What closing a pull request sets going."""
    closed = event["pull_request"] | {"merged": merged, "labels": [{"name": name} for name in labels]}
    return project.github.run("promote.yml", "refs/heads/main", {"pull_request": closed})
