"""How long a stage took: noted by what decides its outputs, so that a report finds it again."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline import stage
from pipeline.stage import timed, times_note


@pytest.fixture
def two_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage `train` with a file of code, a parameter, and data that a stage before it made."""
    monkeypatch.chdir(tmp_path)
    write_yaml("params.yaml", {"train": {"rate": 0.1, "epochs": 3}, "plot": {"patience": 5}})
    Path("train.py").write_text("a = 1")
    stages = {"prepare": {"cmd": "prepare"}, "train": {"cmd": "python train.py", "deps": ["train.py", "data"]}}
    stages["train"]["params"] = ["train.rate", "train", {"other.yaml": ["n"]}]
    write_yaml("dvc.yaml", {"stages": stages})
    write_yaml("dvc.lock", {"stages": {"prepare": {"cmd": "prepare", "outs": [{"path": "data", "md5": "d"}]}}})


def write_yaml(path: str, value: dict) -> None:
    Path(path).write_text(yaml.safe_dump(value))


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("params.yaml", "rate: 0.1", "rate: 0.2"),
        ("train.py", "a = 1", "a = 2"),
        ("dvc.yaml", "python train.py", "python train.py --fast"),
        ("dvc.lock", "md5: d", "md5: e"),
    ],
)
def test_the_time_of_a_stage_is_kept_for_each_of_what_decides_its_outputs(
    two_stages: None, path: str, old: str, new: str
):
    with timed("train"):
        pass
    first = times_note("train").read_text()
    as_it_was = Path(path).read_text()
    assert old in as_it_was
    Path(path).write_text(as_it_was.replace(old, new))
    assert not times_note("train").exists()
    with timed("train"):
        pass
    Path(path).write_text(as_it_was)
    assert times_note("train").read_text() == first


def test_what_does_not_decide_a_stage_leaves_its_time(two_stages: None) -> None:
    before = times_note("train")
    write_yaml("params.yaml", {"train": {"epochs": 3, "rate": 0.1}, "plot": {"patience": 9}})
    assert times_note("train") == before


def test_the_time_of_a_stage_is_that_of_its_work_and_lies_in_the_repository(
    two_stages: None, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))  # as under `dvc exp run --temp`
    monkeypatch.setattr(stage.time, "monotonic", iter([100.0, 112.34]).__next__)
    with timed("train"):
        pass
    assert times_note("train").is_relative_to(tmp_path / "repository")
    assert json.loads(times_note("train").read_text())["seconds"] == 12.3


def test_a_stage_that_fails_has_no_time(two_stages: None) -> None:
    with pytest.raises(stage.InputError), timed("train"):
        raise stage.InputError("no")
    assert not times_note("train").exists()
