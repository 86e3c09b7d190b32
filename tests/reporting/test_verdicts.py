"""Verdicts on metrics by their intervals and their direction; of which runs metrics are; what the summary says."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.inputs import content_md5
from pipeline.reporting import verdicts
from pipeline.reporting.verdicts import Measured, metrics_table, summary, verdict
from pipeline.revisions import Revision
from tests.helpers.project import commit_all, init_git

MIDDLE = Measured(0.8, 0.7, 0.9)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (MIDDLE, Measured(0.95, 0.91, 0.99), "better"),
        (MIDDLE, Measured(0.65, 0.6, 0.69), "worse"),
        (MIDDLE, Measured(0.95, 0.9, 0.99), "within noise"),  # they touch
        (MIDDLE, Measured(0.65, 0.6, 0.7), "within noise"),
        (MIDDLE, MIDDLE, "unchanged"),
        (Measured(0.8), Measured(0.7), "no interval"),
        (MIDDLE, Measured(0.5), "no interval"),
        (None, MIDDLE, "new"),
        (MIDDLE, None, "gone"),
    ],
)
def test_a_metric_is_better_or_worse_only_where_the_intervals_do_not_overlap(before, after, said):
    assert verdict(before, after, "more") == said


@pytest.mark.parametrize(
    ("better", "falls", "rises"),
    [("more", "worse", "better"), ("less", "better", "worse"), (None, "no direction", "no direction")],
)
def test_whether_more_is_better_is_a_property_of_the_metric(better, falls, rises):
    assert verdict(MIDDLE, Measured(0.6, 0.5, 0.65), better) == falls
    assert verdict(MIDDLE, Measured(1.0, 0.95, 1.1), better) == rises


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git repository, the working directory."""
    monkeypatch.chdir(tmp_path)
    init_git(tmp_path)
    return tmp_path


def write_metrics(name: str, **values: object) -> None:
    path = Path(f"data/metrics/{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def accuracy(value: float, low: float, high: float) -> dict[str, float]:
    return {"accuracy": value, "accuracy_low": low, "accuracy_high": high}


def locked(archive: str = "a") -> dict:
    """The stages of a dvc.lock that names the metrics as they lie in the working directory."""
    made = [{"path": str(path), "md5": content_md5(path)} for path in sorted(Path("data/metrics").glob("*.json"))]
    return {"evaluate": {"outs": [*made, {"path": "data/raw/images.tar.gz", "md5": archive}]}}


def head(archive: str = "a") -> Revision:
    """What lies in the folder, committed, as a base."""
    commit_all(Path(), "base")
    return Revision("HEAD", "HEAD", locked(archive))


def here(archive: str = "a") -> Revision:
    return Revision("work tree", "", locked(archive))


def said(before: Revision, after: Revision) -> dict[str, str]:
    """The verdicts, by metric."""
    table = metrics_table(before, after)
    return dict(zip(table["metric"], table["verdict"], strict=True))


def test_a_row_for_each_headline_metric_and_for_each_that_differs():
    write_metrics("classifier", old=0.5, same=0.5, **accuracy(0.8, 0.7, 0.9))
    write_metrics("training", classifier={"epochs": 3, "best_epoch": 2, "overfits_from_epoch": None})
    base = head()
    write_metrics("classifier", f1=0.5, same=0.5, **accuracy(0.6, 0.5, 0.65))
    write_metrics("training", classifier={"epochs": 3, "best_epoch": 3, "overfits_from_epoch": None})
    assert metrics_table(base, here()).to_numpy().tolist() == [
        ["classifier.accuracy", "0.8000 (0.7000 to 0.9000)", "0.6000 (0.5000 to 0.6500)", "-0.2", "worse", True],
        ["classifier.f1", "-", "0.5000", "-", "new", False],
        ["training.classifier.best_epoch", "2", "3", "+1", "no interval", False],
        ["classifier.old", "0.5000", "-", "-", "gone", False],
    ]


def test_a_metric_with_an_interval_counts_though_no_task_names_it():
    write_metrics("classifier", acc=0.8, acc_low=0.7, acc_high=0.9)
    base = head()
    write_metrics("classifier", **accuracy(0.8, 0.7, 0.9))
    table = metrics_table(base, here())
    assert table[["metric", "verdict", "headline"]].to_numpy().tolist() == [
        ["classifier.accuracy", "new", True],
        ["classifier.acc", "gone", True],
    ]


def test_a_log_loss_that_falls_is_better(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(verdicts.BETTER, "classifier.log_loss", "less")
    write_metrics("classifier", log_loss=0.5, log_loss_low=0.4, log_loss_high=0.6)
    base = head()
    write_metrics("classifier", log_loss=0.2, log_loss_low=0.1, log_loss_high=0.3)
    assert said(base, here()) == {"classifier.log_loss": "better"}


def test_metrics_of_another_run_than_dvc_lock_names_are_none():
    write_metrics("classifier", **accuracy(0.8, 0.7, 0.9))
    base = head()
    write_metrics("classifier", **accuracy(0.6, 0.5, 0.65))
    forgotten = Revision("HEAD", base.commit, locked())
    assert said(forgotten, here()) == {"classifier.accuracy": "new"}


def test_metrics_of_other_archives_are_not_judged():
    write_metrics("classifier", **accuracy(0.8, 0.7, 0.9))
    base = head()
    write_metrics("classifier", **accuracy(0.6, 0.5, 0.65))
    assert said(base, here("b")) == {"classifier.accuracy": "other data"}


def test_metrics_of_another_number_of_test_pictures_are_not_judged():
    write_metrics("classifier", **accuracy(0.6, 0.5, 0.65))
    write_metrics("segmenter", mean_iou=0.5, mean_iou_low=0.4, mean_iou_high=0.6)
    write_metrics("preprocess_classifier", pictures={"test": 238})
    base = head()
    write_metrics("classifier", **accuracy(0.8, 0.7, 0.9))
    write_metrics("segmenter", mean_iou=0.8, mean_iou_low=0.7, mean_iou_high=0.9)
    write_metrics("preprocess_classifier", pictures={"test": 159})
    assert said(base, here()) == {
        "segmenter.mean_iou": "better",
        "classifier.accuracy": "other data",
        "preprocess_classifier.pictures.test": "no interval",
    }


def test_the_summary_names_headline_metrics_by_verdict_the_worst_first():
    found = ["within noise", "better", "unchanged", "other data", "no interval", "gone", "worse", "worse"]
    metrics = pd.DataFrame({"metric": list("abcdefgh"), "verdict": found, "headline": [True] * 7 + [False]})
    sentences = "**Worse**: g. **Gone**: f. **Other data**: d. **No interval**: e. **Better**: b. **Within noise**: a."
    assert summary(metrics, Revision("HEAD", "1234567", {"train": {}})) == sentences
    assert summary(metrics, Revision("HEAD", "1234567", {})) == "**No comparison**: the base has no results."
