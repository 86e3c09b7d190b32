"""Differences between two revisions: verdicts by intervals, new and deleted metrics, causes, parameters."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.differences import Metric, metrics_table, overrides, params_table, pictures, stages_table, verdict
from pipeline.inputs import content_md5
from pipeline.revisions import Revision
from tests.helpers.project import commit_all, run_in

ARCHIVES = {"download": {"outs": [{"path": "data/raw/images.tar.gz", "md5": "a"}]}}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Metric(0.8, 0.7, 0.9), Metric(0.95, 0.91, 0.99), "better"),
        (Metric(0.8, 0.7, 0.9), Metric(0.65, 0.6, 0.69), "worse"),
        (Metric(0.8, 0.7, 0.9), Metric(0.95, 0.9, 0.99), "within noise"),  # they touch
        (Metric(0.8, 0.7, 0.9), Metric(0.65, 0.6, 0.7), "within noise"),
        (Metric(0.8, 0.7, 0.9), Metric(0.8, 0.7, 0.9), "unchanged"),
        (Metric(0.8), Metric(0.7), "no interval"),
        (Metric(0.8, 0.7, 0.9), Metric(0.5), "no interval"),
        (None, Metric(0.8, 0.7, 0.9), "new"),
        (Metric(0.8), None, "gone"),
    ],
)
def test_a_metric_is_better_or_worse_only_where_the_intervals_do_not_overlap(before, after, said):
    assert verdict(before, after) == said


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git repository, the working directory."""
    monkeypatch.chdir(tmp_path)
    run_in(tmp_path, "git", "init", "--quiet")
    run_in(tmp_path, "git", "config", "user.name", "test")
    run_in(tmp_path, "git", "config", "user.email", "test@example.org")
    return tmp_path


def locked(stages: dict | None = None) -> dict:
    """The stages of a dvc.lock that names the metrics as they lie in the working directory."""
    made = [{"path": str(path), "md5": content_md5(path)} for path in Path("data/metrics").glob("*.json")]
    return (stages or {}) | {"evaluate": {"outs": made}}


def head(folder: Path, stages: dict | None = None) -> Revision:
    """What lies in the folder, committed, as a base."""
    commit_all(folder, "base")
    return Revision("HEAD", run_in(folder, "git", "rev-parse", "HEAD").stdout.strip(), locked(stages))


def here(stages: dict | None = None) -> Revision:
    return Revision("work tree", "", locked(stages))


def write_metrics(folder: Path, name: str, values: dict) -> None:
    (folder / "data/metrics").mkdir(parents=True, exist_ok=True)
    (folder / f"data/metrics/{name}.json").write_text(json.dumps(values))


def test_a_row_for_each_metric_with_an_interval_and_for_each_that_differs(folder):
    write_metrics(folder, "classifier", {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "old": 0.5})
    write_metrics(folder, "training", {"classifier": {"epochs": 3, "best_epoch": 2, "overfits_from_epoch": None}})
    base = head(folder)
    write_metrics(folder, "classifier", {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.65, "f1": 0.5})
    write_metrics(folder, "training", {"classifier": {"epochs": 3, "best_epoch": 3, "overfits_from_epoch": None}})
    rows = metrics_table(base, here()).to_numpy().tolist()
    assert rows == [
        ["classifier.accuracy", "0.8000 (0.7000 to 0.9000)", "0.6000 (0.5000 to 0.6500)", "-0.2", "worse", True],
        ["classifier.f1", "-", "0.5000", "-", "new", False],
        ["training.classifier.best_epoch", "2", "3", "+1", "no interval", False],
        ["classifier.old", "0.5000", "-", "-", "gone", False],
    ]


def test_a_test_metric_that_is_gone_or_new_counts(folder):
    write_metrics(folder, "classifier", {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9})
    base = head(folder)
    write_metrics(folder, "classifier", {"acc": 0.8, "acc_low": 0.7, "acc_high": 0.9})
    table = metrics_table(base, here())
    assert table[["metric", "verdict", "headline"]].to_numpy().tolist() == [
        ["classifier.acc", "new", True],
        ["classifier.accuracy", "gone", True],
    ]


def test_metrics_of_another_run_than_dvc_lock_names_are_none(folder):
    write_metrics(folder, "classifier", {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9})
    base = head(folder)
    write_metrics(folder, "classifier", {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.65})
    forgotten = Revision("HEAD", base.commit, locked())
    assert metrics_table(forgotten, here())["verdict"].tolist() == ["new"]


def test_metrics_of_other_archives_are_not_judged(folder):
    write_metrics(folder, "classifier", {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9})
    base = head(folder, {"fetch": {"outs": [{"path": "data/raw/images.tar.gz", "md5": "b"}]}})
    write_metrics(folder, "classifier", {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.65})
    assert metrics_table(base, here(ARCHIVES))["verdict"].tolist() == ["other data"]
    same = {"download": base.stages["fetch"]}
    assert metrics_table(base, here(same))["verdict"].tolist() == ["worse"], "whatever the stage is called"


def test_metrics_of_another_number_of_test_pictures_are_not_judged(folder):
    write_metrics(folder, "classifier", {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.65})
    write_metrics(folder, "preprocess_classifier", {"pictures": {"test": 238}})
    write_metrics(folder, "segmenter", {"mean_iou": 0.5, "mean_iou_low": 0.4, "mean_iou_high": 0.6})
    base = head(folder)
    write_metrics(folder, "classifier", {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9})
    assert metrics_table(base, here())["verdict"].tolist() == ["unchanged", "better"]
    write_metrics(folder, "preprocess_classifier", {"pictures": {"test": 159}})
    write_metrics(folder, "segmenter", {"mean_iou": 0.8, "mean_iou_low": 0.7, "mean_iou_high": 0.9})
    assert metrics_table(base, here())[["metric", "verdict"]].to_numpy().tolist() == [
        ["segmenter.mean_iou", "better"],
        ["classifier.accuracy", "other data"],
        ["preprocess_classifier.pictures.test", "no interval"],
    ]


def test_parameters_that_differ_are_named_and_a_number_spelled_otherwise_is_the_same(folder):
    (folder / "params.yaml").write_text("train: {rate: 0.001, epochs: 3, old: 1}\n")
    base = head(folder)
    (folder / "params.yaml").write_text("train: {rate: 1e-3, epochs: 5, new: true}\n")
    assert params_table(base, Revision("work tree", "", {})).to_numpy().tolist() == [
        ["train.epochs", 3, 5],
        ["train.new", "-", True],
        ["train.old", 1, "-"],
    ]


@pytest.mark.parametrize("text", ["train: {rate: [", "- rate"])
def test_of_a_base_whose_parameters_no_stage_could_read_all_are_new(folder, text):
    (folder / "params.yaml").write_text(text)
    base = head(folder)
    (folder / "params.yaml").write_text("train: {rate: 0.1}\n")
    assert params_table(base, here()).to_numpy().tolist() == [["train.rate", "-", 0.1]]


def test_parameters_that_both_sides_set_over_what_is_committed_are_named(folder):
    (folder / "params.yaml").write_text("train: {epochs: 20, rate: 0.1}\n")
    base = head(folder)
    (folder / "params.yaml").write_text("train: {epochs: 60, rate: 0.2}\n")
    commit_all(folder, "the change of a pull request")
    (folder / "params.yaml").write_text("train: {epochs: 20, rate: 0.2}\n")  # a demo's epochs
    assert overrides(base, Revision("work tree", "", {})) == ["`train.epochs: 20` instead of `60`"]


def entry(cmd: str = "train", rate: float = 0.1, code: str = "c", **deps: str) -> dict:
    """A stage in dvc.lock."""
    return {
        "cmd": cmd,
        "deps": [{"path": path, "md5": md5} for path, md5 in ({"train.py": code} | deps).items()],
        "params": {"params.yaml": {"train": {"rate": rate}}},
        "outs": [{"path": "data/plots/curves", "md5": "d"}, {"path": "data/models/x.keras", "md5": "e"}],
    }


def test_a_stage_names_what_set_it_going(folder):
    (folder / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {name: {"cmd": "train", "deps": [], "params": []} for name in "abcd"}})
    )
    before = {"a": entry(), "b": entry(), "c": entry(), "e": entry()}
    after = {"a": entry(), "b": entry(rate=0.2, code="x"), "c": entry(cmd="python", data="m"), "d": entry()}
    rows = stages_table(Revision("HEAD", "", before), Revision("work tree", "", after)).to_numpy().tolist()
    assert rows == [
        ["a", "stood still", "-", "-"],
        ["b", "restored", "-", "train.rate, train.py"],
        ["c", "restored", "-", "its command, data"],
        ["d", "restored", "-", "not in the base"],
        ["e", "gone", "-", "-"],
    ]


def test_pictures_are_those_of_stages_that_differ(folder):
    (folder / "data/plots/curves").mkdir(parents=True)
    for name in ("b.png", "a.png", "c.csv"):
        (folder / "data/plots/curves" / name).touch()
    before, after = Revision("HEAD", "", {"plot": entry()}), Revision("work tree", "", {"plot": entry(rate=0.2)})
    assert [path.name for path in pictures(before, after)] == ["a.png", "b.png"]
    assert pictures(before, before) == []
