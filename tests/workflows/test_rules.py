"""Wrong settings are one line before any work; what the workflows give to whom."""

import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.helpers.project import REPOSITORY, commit_all, init_git, run_in

WORKFLOWS = REPOSITORY / ".github/workflows"
DATASET = "variable PETS_DATASET: 'cifar'; allowed: embedded, official"
CHAMPION = "input champion: no server has it; set the variable MLFLOW_TRACKING_URI"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of the scripts alone, in which nothing can be trained."""
    shutil.copytree(REPOSITORY / ".ci", tmp_path / ".ci")
    (tmp_path / "demo.params").touch()
    init_git(tmp_path)
    commit_all(tmp_path, "scripts")
    return tmp_path


@pytest.mark.parametrize(
    ("base", "variables", "line"),
    [
        ("HEAD", {"PETS_DATASET": "cifar"}, DATASET),
        ("HEAD", {"PETS_DATASET": "cifar", "GITHUB_ACTIONS": "true"}, f"::error::{DATASET}"),  # beside the change
        ("HEAD", {"CHAMPION": "true", "MLFLOW_TRACKING_URI": "http://host", "TRUSTED": "false"}, CHAMPION),
        ("mian", {}, "mian: no commit, branch or tag of this repository"),
        ("HEAD", {"edited": "demo.params"}, "uncommitted changes; commit them and run again"),
    ],
)
def test_wrong_settings_are_one_line_which_the_report_has(clone: Path, base: str, variables: dict, line: str) -> None:
    if "edited" in variables:
        (clone / "demo.params").write_text("plot.overfit_after=2")
    done = run_in(clone, ".ci/retrain", base, check=False, **variables)
    assert (done.returncode, done.stdout) == (1, f"{line}\n")
    assert (clone / "retrained/report.md").read_text().endswith(f"**It did not end.** Its last lines:\n\n    {line}\n")


def test_what_decides_a_training_starts_a_retraining() -> None:
    paths = yaml.load((WORKFLOWS / "retrain.yml").read_text(), yaml.BaseLoader)["on"]["pull_request"]["paths"]
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"].values()
    code = {dep for stage in stages for dep in stage["deps"] if not dep.startswith("data/")}
    for name in {"params.yaml", "demo.params", "dvc.yaml", ".ci/retrain"} | code:
        assert any(fnmatch(name, pattern) for pattern in paths), name


def test_secrets_are_for_trusted_pull_requests_only() -> None:
    lines = [line for line in (WORKFLOWS / "retrain.yml").read_text().splitlines() if "secrets." in line]
    assert lines
    for line in lines:
        assert re.search(r": \$\{\{ env\.TRUSTED == 'true' && secrets\.\w+ \|\| '' \}\}$", line)


def test_a_job_that_may_write_runs_scripts_of_the_default_branch_only() -> None:
    jobs = yaml.safe_load((WORKFLOWS / "retrain.yml").read_text())["jobs"]
    assert [name for name, job in jobs.items() if "write" in job["permissions"].values()] == ["publish"]
    checkouts = [
        step["with"] for step in jobs["publish"]["steps"] if step.get("uses", "").startswith("actions/checkout@")
    ]
    assert [given["ref"] for given in checkouts] == ["${{ github.event.repository.default_branch }}"]
