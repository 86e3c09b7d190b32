"""A repository on a bare remote, an author's clone of it, and machines that run the scripts of .ci/ on other clones."""

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import yaml

from tests.helpers.project import commit_all, make_repository, run_in
from tests.helpers.tables import rows

MODEL = "pets-classifier"


@dataclass
class Machine:
    """A clone in which a script has run: its exit code, and what it said."""

    folder: Path
    code: int
    said: str

    @property
    def report(self) -> str:
        return (self.folder / "retrained/report.md").read_text()

    @property
    def unshared(self) -> set[str]:
        folder = self.folder / "unshared"
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}

    def rows(self, title: str) -> dict[str, list[str]]:
        return rows(self.report, title)

    def stages(self, of: str) -> list[str]:
        """Return the stages that ran for the change, or for the base."""
        said = self.said.partition(f"== The {of}, ")[2].partition("\n== ")[0]
        return re.findall(r"Running stage '(\w+)'", said)


@dataclass
class Project:
    """The remote `origin.git`, the clone `author`, the DVC remote `storage` and the MLflow store `mlflow.db`."""

    folder: Path

    def __post_init__(self) -> None:
        self.author, self.origin = self.folder / "author", self.folder / "origin.git"
        self.storage, self.store = self.folder / "storage", f"sqlite:///{self.folder}/mlflow.db"
        self.author.mkdir()
        make_repository(self.author, train_classifier={"epochs": 12})
        (self.author / "demo.params").write_text("download.dataset=embedded\nplot.overfit_after=2\n")
        run_in(self.author, "dvc", "remote", "add", "--default", "storage", "../storage")
        commit_all(self.author, "demo.params, a remote")
        run_in(self.folder, "git", "clone", "--quiet", "--bare", "author", "origin.git")
        run_in(self.author, "git", "remote", "add", "origin", str(self.origin))

    def commit(self, branch: str, **sections: dict) -> str:
        """Push a commit on top of main to a branch, with other parameters. Returns its number."""
        run_in(self.author, "git", "checkout", "--quiet", "-B", branch, "main")
        params = yaml.safe_load((self.author / "params.yaml").read_text())
        changed = params | {name: params[name] | keys for name, keys in sections.items()}
        (self.author / "params.yaml").write_text(yaml.safe_dump(changed))
        commit_all(self.author, f"{branch}: {sections}")
        run_in(self.author, "git", "push", "--quiet", "--force", "origin", branch)
        return run_in(self.author, "git", "rev-parse", "HEAD").stdout.strip()

    def machine(self, branch: str = "main") -> Path:
        """Return a new clone of main with a branch merged into it.

        `make .venv/installed` has nothing to do there: its .venv is this Python's.
        """
        folder = self.folder / f"machine-{len([*self.folder.glob('machine-*')])}"
        run_in(self.folder, "git", "clone", "--quiet", "--branch", "main", "origin.git", folder.name)
        if branch != "main":
            author = ("-c", "user.name=GitHub", "-c", "user.email=github@example.org")
            run_in(folder, "git", *author, "merge", "--quiet", "--no-ff", "--no-edit", f"origin/{branch}")
        (folder / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            if entry.name != "installed":
                (folder / ".venv" / entry.name).symlink_to(entry)
        (folder / ".venv/installed").touch()
        os.utime(folder / ".venv/installed", (2**32, 2**32))
        return folder

    def retrain(self, branch: str, *overrides: str, after: Machine | None = None, **variables: str) -> Machine:
        """Run .ci/retrain for a pull request of a branch, or on main. after: the machine whose DVC cache it finds."""
        folder = self.machine(branch)
        if after:
            shutil.copytree(after.folder / ".dvc/cache", folder / ".dvc/cache")
        base = "HEAD" if branch == "main" else "HEAD^1"
        done = run_in(folder, ".ci/retrain", base, *overrides, check=False, **variables)
        return Machine(folder, done.returncode, done.stdout + done.stderr)

    def at_github(self, number: int) -> dict[str, str]:
        """Return the variables of a run of GitHub Actions on a pull request."""
        event = self.folder / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": number, "head": {"sha": "1" * 40}}}))
        names = {"SERVER_URL": "https://github.com", "REPOSITORY": "me/pets", "RUN_ID": "1", "SHA": "1" * 40}
        run = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(event), "MLFLOW_TRACKING_URI": self.store}
        return run | {f"GITHUB_{name}": value for name, value in names.items()}

    def shared(self) -> set[str]:
        """Return the names of the files in the DVC remote."""
        return {path.name for path in self.storage.rglob("*") if path.is_file()}

    def champion(self) -> str | None:
        return mlflow.MlflowClient(self.store).get_registered_model(MODEL).aliases.get("champion")
