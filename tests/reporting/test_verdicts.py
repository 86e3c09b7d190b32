"""Verdicts on metrics by their intervals and their direction; of which runs metrics are; what the summary says."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.inputs import content_md5
from pipeline.reporting.verdicts import Measured, metrics_table, summary, verdict
from pipeline.revisions import Revision
from tests.helpers.project import commit_all, init_git

MIDDLE = Measured(0.8, 0.7, 0.9)


@pytest.mark.parametrize(
    ("after", "better", "said"),
    [
        (Measured(0.95, 0.91, 0.99), "more", "better"),
        (Measured(0.95, 0.91, 0.99), "less", "worse"),
        (Measured(0.95, 0.91, 0.99), None, "no direction"),
        (Measured(0.65, 0.6, 0.69), "more", "worse"),
        (Measured(0.95, 0.9, 0.99), "more", "within noise"),  # they touch
        (Measured(0.65, 0.6, 0.7), "more", "within noise"),
        (MIDDLE, "more", "unchanged"),
        (Measured(0.5), "more", "no interval"),
        (None, "more", "gone"),
    ],
)
def test_a_metric_is_better_or_worse_only_where_the_intervals_do_not_overlap(after, better, said) -> None:
    assert verdict(MIDDLE, after, better) == said


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Git repository, the working directory, in which preprocess had 238 test pictures for the classifier."""
    monkeypatch.chdir(tmp_path)
    init_git(tmp_path)
    write_metrics("counts_classifier", pictures={"test": 238})


def write_metrics(name: str, **values: object) -> None:
    path = Path(f"data/metrics/{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def accuracy(value: float) -> dict[str, float]:
    return {"accuracy": value, "accuracy_low": value - 0.0625, "accuracy_high": value + 0.0625}


def locked(archive: str = "a") -> dict:
    """The stages of a dvc.lock that names the metrics as they lie in the working directory."""
    made = [{"path": str(path), "md5": content_md5(path)} for path in sorted(Path("data/metrics").glob("*.json"))]
    return {"evaluate": {"outs": [*made, {"path": "data/raw/images.tar.gz", "md5": archive}]}}


def head() -> Revision:
    """What lies in the folder, committed, as a base."""
    commit_all(Path(), "base")
    return Revision("HEAD", "HEAD", locked())


def test_a_row_for_each_headline_metric_first_and_for_each_that_differs() -> None:
    write_metrics("classifier", old=0.5, same=0.5, **accuracy(0.75))
    write_metrics("training", classifier={"epochs": 3, "best_epoch": 2, "overfits_from_epoch": None})
    base = head()
    write_metrics("classifier", f1=0.5, same=0.5, **accuracy(0.5), own=0.8, own_low=0.7, own_high=0.9)
    write_metrics("training", classifier={"epochs": 3, "best_epoch": 3, "overfits_from_epoch": None})
    assert metrics_table(base, Revision("work tree", "", locked())).to_numpy().tolist() == [
        ["classifier.accuracy", "0.7500 (0.6875 to 0.8125)", "0.5000 (0.4375 to 0.5625)", "-0.25", "worse", True],
        ["classifier.f1", "-", "0.5000", "-", "new", False],
        ["classifier.own", "-", "0.8000 (0.7000 to 0.9000)", "-", "new", True],  # an interval makes it one of those
        ["training.classifier.best_epoch", "2", "3", "+1", "no interval", False],
        ["classifier.old", "0.5000", "-", "-", "gone", False],
    ]


def test_metrics_of_other_test_data_are_not_judged_and_those_of_another_run_than_dvc_lock_names_are_none() -> None:
    write_metrics("classifier", **accuracy(0.75))
    base = head()
    write_metrics("classifier", **accuracy(0.5))

    def said(before: Revision, archive: str = "a") -> list[str]:
        table = metrics_table(before, Revision("work tree", "", locked(archive)))
        return table.loc[table["headline"], "verdict"].tolist()

    assert said(Revision("HEAD", base.commit, locked())) == ["new"]
    assert said(base) == ["worse"]
    assert said(base, archive="b") == ["other data"]
    write_metrics("counts_classifier", pictures={"test": 159})
    assert said(base) == ["other data"]


def test_the_summary_names_headline_metrics_by_verdict_the_worst_first() -> None:
    found = ["within noise", "better", "unchanged", "other data", "no interval", "gone", "worse", "worse"]
    metrics = pd.DataFrame({"metric": list("abcdefgh"), "verdict": found, "headline": [True] * 7 + [False]})
    sentences = "**Worse**: g. **Gone**: f. **Other data**: d. **No interval**: e. **Better**: b. **Within noise**: a."
    assert summary(metrics, Revision("HEAD", "1234567", {"train": {}})) == sentences
    assert summary(metrics, Revision("HEAD", "1234567", {})) == "**No comparison**: the base has no results."
