"""Parameters, stages and pictures of two revisions, side by side."""

from pathlib import Path

import pytest

from pipeline.reporting.differences import params_table, pictures, stages_table
from pipeline.revisions import Revision
from tests.helpers.project import commit_all, init_git


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("committed", "rows"),
    [
        ("train: {rate: 0.001, epochs: 3, old: 1}", [["epochs", 3, 5], ["new", "-", True], ["old", 1, "-"]]),
        ("- rate", [["rate", "-", 0.001], ["epochs", "-", 5], ["new", "-", True]]),  # no stage could read that
    ],
)
def test_parameters_that_differ_are_named_and_a_number_spelled_otherwise_is_the_same(committed, rows) -> None:
    init_git(Path())
    Path("params.yaml").write_text(committed)
    commit_all(Path(), "base")
    Path("params.yaml").write_text("train: {rate: 1e-3, epochs: 5, new: true}\n")
    table = params_table(Revision("HEAD", "HEAD", {}), Revision("work tree", "", {}))
    assert table.to_numpy().tolist() == [[f"train.{key}", *values] for key, *values in rows]


def entry(cmd: str = "train", rate: float = 0.1, code: str = "c", md5: str = "d", **deps: str) -> dict:
    """A stage in dvc.lock."""
    return {
        "cmd": cmd,
        "deps": [{"path": path, "md5": of_path} for path, of_path in ({"train.py": code} | deps).items()],
        "params": {"params.yaml": {"train": {"rate": rate}}},
        "outs": [{"path": "data/plots/curves", "md5": md5}, {"path": "data/models/x.keras", "md5": "e"}],
    }


def test_a_stage_names_what_changed_it() -> None:
    before = Revision("HEAD", "", dict.fromkeys("abcdf", entry()))
    changed = {"b": entry(rate=0.2, code="x"), "c": entry(cmd="python", data="m"), "d": entry(md5="other")}
    after = Revision("work tree", "", {"a": entry(), **changed, "e": entry()})
    assert stages_table(before, after).to_numpy().tolist() == [
        ["a", "unchanged", "-"],
        ["b", "changed", "train.rate, train.py"],
        ["c", "changed", "its command, data"],
        ["d", "changed", "-"],
        ["e", "new", "-"],
        ["f", "gone", "-"],
    ]


def test_pictures_are_those_of_stages_that_differ() -> None:
    Path("data/plots/curves").mkdir(parents=True)
    for name in ("b.png", "a.png", "c.csv"):
        (Path("data/plots/curves") / name).touch()
    before, after = Revision("HEAD", "", {"plot": entry()}), Revision("work tree", "", {"plot": entry(rate=0.2)})
    assert [path.name for path in pictures(before, after)] == ["a.png", "b.png"]
    assert pictures(before, before) == []
