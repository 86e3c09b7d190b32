"""How a run says what it came from, by dvc.lock and by the variables that DVC and GitHub Actions set."""

import json
from pathlib import Path

import pytest

from pipeline.revisions import work_tree
from pipeline.tracking.lineage import origin_tags, training_in_lock

ACTIONS = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "me/pets",
    "GITHUB_RUN_ID": "77",
    "GITHUB_SHA": "merged",
}


@pytest.mark.parametrize(
    ("variables", "tags"),
    [
        ({}, {"origin": "python -m pipeline.train"}),
        ({"DVC_STAGE": "train_classifier"}, {"origin": "dvc repro"}),
        (
            {"DVC_STAGE": "train_classifier", "DVC_EXP_NAME": "bold"},
            {"origin": "dvc exp run", "dvc_experiment": "bold"},
        ),
        ({"DVC_STAGE": "train_classifier", "CI": "true"}, {"origin": "dvc repro in CI"}),
        ({"DVC_STAGE": "train_classifier", "CI": ""}, {"origin": "dvc repro"}),
    ],
)
def test_the_command_and_the_experiment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], tags: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert origin_tags() == tags


@pytest.mark.parametrize(
    "lock", ["", "stages:", "[]", "stages: {train_classifier: {}, preprocess_classifier: {}}", "{"]
)
def test_a_dvc_lock_of_another_layout_holds_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(lock)
    assert training_in_lock("classifier", work_tree().stages) is None


@pytest.mark.parametrize(
    ("event", "tags"),
    [
        ({}, {"ci_commit": "merged"}),
        (
            {"pull_request": {"number": 5, "head": {"sha": "proposed"}}},
            {"ci_commit": "proposed", "ci_pull_request": "https://github.com/me/pets/pull/5"},
        ),
    ],
    ids=["push", "pull request"],
)
def test_github_actions_adds_the_commit_the_pull_request_and_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: dict, tags: dict[str, str]
) -> None:
    for name, value in (ACTIONS | {"DVC_STAGE": "train_classifier"}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "event.json").write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    always = {"origin": "dvc repro in CI", "ci_run": "https://github.com/me/pets/actions/runs/77"}
    assert origin_tags() == always | tags
