"""When workflows run, and for whom: trust, paths, concurrency, settings; what needs no training."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.actions import GitHub, Job, workflow_text
from tests.expressions import evaluate, fill_in, holds
from tests.helpers.pullrequests import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.mark.parametrize("author", ["dependabot[bot]", "somebody"])
def test_what_strangers_or_robots_propose_is_not_trusted(project: Project, author: str) -> None:
    ref, event = project.github.pull_request(11, "main", of="somebody")
    event["pull_request"]["user"]["login"] = author
    if author == "dependabot[bot]":
        event["pull_request"]["head"]["repo"]["full_name"] = project.github.origin.name
    text = workflow_text("retrain.yml")
    contexts = project.github.contexts(ref, event, {}) | {"vars": {"RETRAIN_RUNNER": "gpu"}}
    job = Job(project.github, text, "retrain", contexts)
    assert (job.variables["TRUSTED"], job.runs_on) == ("false", "ubuntu-24.04")
    assert not holds(text["jobs"]["publish"]["if"], contexts | {"cancelled": lambda: False})


@pytest.mark.parametrize(
    ("settings", "inputs", "line"),
    [
        ({"PETS_DATASET": "cifar"}, {}, "::error::variable PETS_DATASET: 'cifar'; allowed: embedded, official\n"),
        ({}, {"champion": True}, "::error::input champion: no server has it; set the variable MLFLOW_TRACKING_URI\n"),
    ],
)
def test_wrong_settings_are_one_line_before_any_training(
    project: Project, settings: dict, inputs: dict, line: str
) -> None:
    github = GitHub(project.github.origin, settings)
    job = github.run("retrain.yml", "refs/heads/main", {}, **inputs)["retrain"]
    assert job.failed == ["Which data, remote and store"]
    assert job.said["Which data, remote and store"] == line


@pytest.mark.parametrize(
    ("path", "starts"),
    [
        *((name, True) for name in ("params.yaml", "demo.params", "dvc.yaml", "requirements.txt", "requirements.in")),
        *((name, True) for name in ("pipeline/stage.py", "pipeline/tracking/runs.py")),
        *((name, False) for name in ("README.md", "tests/test_stage.py", "requirements-dev.txt")),
    ],
)
def test_a_retraining_is_started_by_what_decides_a_training(path: str, starts: bool) -> None:
    patterns = workflow_text("retrain.yml")["on"]["pull_request"]["paths"]
    assert any(fnmatch(path, pattern) for pattern in patterns) == starts


def test_a_later_push_cancels_the_run_of_an_earlier_one_of_the_same_pull_request_only() -> None:
    concurrency = workflow_text("retrain.yml")["concurrency"]
    assert concurrency["cancel-in-progress"] is True
    groups = [
        fill_in(concurrency["group"], {"github": {"event": {"pull_request": {"number": number}}, "run_id": run_id}})
        for number, run_id in ((7, 1), (7, 2), (8, 3))
    ]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("vars.A || 'b'", "b"),
        ("!github.event.pull_request || github.event.pull_request.user.login == 'me'", True),
        ("vars.A != ''", False),
        ("github.event && '^1' || ''", ""),
        ("contains(github.labels.*.name, 'champion')", True),
    ],
)
def test_expressions_mean_what_they_mean_at_github(expression: str, value: object) -> None:
    assert evaluate(expression, {"vars": {}, "github": {"labels": [{"name": "champion"}]}}) == value
