"""How a run says what it came from: the command, the code, the pull request."""

import json
from pathlib import Path

import pytest

from pipeline.revisions import work_tree
from pipeline.tracking.lineage import COMMIT, Origin
from tests.helpers.project import commit_all, init_git, run_in

ACTIONS = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "me/pets",
    "GITHUB_RUN_ID": "77",
    "GITHUB_SHA": "merged",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a Git repository of one file of code, committed."""
    monkeypatch.chdir(tmp_path)
    init_git(tmp_path)
    Path("pipeline").mkdir()
    Path("pipeline/old.py").write_text("a = 1\n")
    commit_all(tmp_path, "as it was")
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "tags"),
    [
        ({}, {"origin": "python -m pipeline.train"}),
        ({"DVC_STAGE": "train_classifier", "CI": ""}, {"origin": "dvc repro"}),
        (
            {"DVC_STAGE": "train_classifier", "DVC_EXP_NAME": "bold"},
            {"origin": "dvc exp run", "dvc_experiment": "bold"},
        ),
        ({"DVC_STAGE": "train_classifier", "CI": "true"}, {"origin": "dvc repro in CI"}),
    ],
)
def test_the_command_and_the_experiment(
    project: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], tags: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    commit = run_in(project, "git", "rev-parse", "HEAD").stdout.strip()
    assert Origin.here("CPU") == Origin(tags | {"device": "CPU", COMMIT: commit})


def test_the_patch_is_how_the_code_and_the_parameters_differ_from_the_commit(project: Path) -> None:
    Path("pipeline/old.py").write_text("a = 2\n")
    Path("pipeline/new.py").write_text("b = 3\n")
    origin = Origin.here("CPU")
    assert origin.tags["uncommitted"] == "pipeline/new.py, pipeline/old.py"
    assert all(line in origin.patch.splitlines() for line in ("-a = 1", "+a = 2", "+b = 3"))


def test_a_folder_without_git_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    origin = Origin.here("CPU")
    reason = "git rev-parse: not a git repository"
    assert origin.tags[COMMIT].startswith(f"unknown: {reason}")
    assert capsys.readouterr().err.startswith(f"warning: MLflow does not show what code this is: {reason}")
    assert "uncommitted" not in origin.tags


def test_github_actions_adds_the_commit_the_pull_request_and_its_own_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, run = project / "event.json", {"ci_run": "https://github.com/me/pets/actions/runs/77"}
    for name, value in (ACTIONS | {"GITHUB_EVENT_PATH": str(event)}).items():
        monkeypatch.setenv(name, value)
    pull_request = {"ci_commit": "proposed", "ci_pull_request": "https://github.com/me/pets/pull/5"}
    for happened, tags in (
        ({}, {"ci_commit": "merged"}),
        ({"pull_request": {"number": 5, "head": {"sha": "proposed"}}}, pull_request),
    ):
        event.write_text(json.dumps(happened))
        for origin in (Origin.here("CPU"), Origin.restored(work_tree(), "classifier")):
            assert {name: value for name, value in origin.tags.items() if name.startswith("ci_")} == run | tags
