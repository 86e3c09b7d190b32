"""Parameters and stages of two revisions, side by side."""

from pathlib import Path

from pipeline.reporting.differences import params_table, stages_table
from pipeline.revisions import Revision
from tests.helpers.project import commit_all, init_git


def test_parameters_that_differ_are_named_and_a_number_spelled_otherwise_is_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    init_git(Path())
    Path("params.yaml").write_text("train: {rate: 0.001, epochs: 3, old: 1}\n")
    commit_all(Path(), "base")
    Path("params.yaml").write_text("train: {rate: 1e-3, epochs: 5, new: true}\n")
    table = params_table(Revision("HEAD", "HEAD", {}), Revision("work tree", "", {}))
    rows = [["train.epochs", 3, 5], ["train.new", "-", True], ["train.old", 1, "-"]]
    assert table.to_numpy().tolist() == rows


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
