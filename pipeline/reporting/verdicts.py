"""The metrics of two revisions side by side, with a verdict on each."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.outputs import read_metrics
from pipeline.paths import METRICS, RAW
from pipeline.reporting.differences import NOTHING, flatten
from pipeline.revisions import Revision, file_at
from pipeline.tasks import TASKS

BETTER = {f"{task}.{metric.name}": metric.better for task, traits in TASKS.items() for metric in traits.metrics}
IN_SUMMARY = ("worse", "gone", "other data", "no direction", "no interval", "better", "within noise", "new")


class Measured(NamedTuple):
    """A metric at one revision, with its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        value = f"{self.value:#.4g}" if isinstance(self.value, float) else str(self.value)
        return value if self.low is None else f"{value} ({self.low:#.4g} to {self.high:#.4g})"


def metrics_table(before: Revision, after: Revision) -> pd.DataFrame:
    """Return a row for each headline metric, and for each other metric that differs.

    Headline metrics are those of pipeline/tasks.py, which come first, and all that have an interval.
    """
    old, new, rows = _metrics(before), _metrics(after), []
    for name in sorted(new | old, key=lambda name: name not in BETTER):
        was, now = old.get(name), new.get(name)
        headline = name in BETTER or any(side and side.low is not None for side in (was, now))
        if was != now or headline:
            difference = f"{now.value - was.value:+.4g}" if was and now else NOTHING
            same_data = _test_data(name, old, before) == _test_data(name, new, after)
            said = verdict(was, now, BETTER.get(name)) if same_data or not (was and now) else "other data"
            rows.append([name, str(was or NOTHING), str(now or NOTHING), difference, said, headline])
    return pd.DataFrame(rows, columns=["metric", "base", "here", "difference", "verdict", "headline"])


def verdict(before: Measured | None, after: Measured | None, better: str | None) -> str:
    """Return better or worse only where the intervals do not overlap. better: "more", "less", or None if not known."""
    if before is None or after is None:
        return "new" if before is None else "gone"
    if before == after:
        return "unchanged"
    if before.low is None or after.low is None:
        return "no interval"
    if before.low <= after.high and after.low <= before.high:
        return "within noise"
    if better is None:
        return "no direction"
    return "better" if (after.low > before.high) == (better == "more") else "worse"


def summary(metrics: pd.DataFrame, before: Revision) -> str:
    """Return a sentence for each verdict on headline metrics, the worst first. metrics: of metrics_table."""
    if not before.stages:
        return "**No comparison**: the base has no results."
    said = {verdict: list(rows["metric"]) for verdict, rows in metrics[metrics["headline"]].groupby("verdict")}
    lines = [f"**{verdict.capitalize()}**: {', '.join(said[verdict])}." for verdict in IN_SUMMARY if verdict in said]
    return " ".join(lines) or "**No test metric has changed.**"


def _metrics(side: Revision) -> dict[str, Measured]:
    """Return what data/metrics/ holds, by `file.name`, of the files that dvc.lock names: others are of other runs."""
    texts = {path: file_at(side, path) for path in side.outputs if Path(path).parent == METRICS}
    own = [path for path, text in texts.items() if hashlib.md5(text.encode()).hexdigest() == side.outputs[path]]
    values = flatten({Path(path).stem: read_metrics(texts[path]) for path in own})
    bounds = {f"{name}_{end}" for name in values if f"{name}_low" in values for end in ("low", "high")}
    return {
        name: Measured(value, values.get(f"{name}_low"), values.get(f"{name}_high"))
        for name, value in values.items()
        if value is not None and name not in bounds
    }


def _test_data(name: str, metrics: dict[str, Measured], side: Revision) -> list[str | Measured | None]:
    """Return what the test split of a metric's task is known by: the archives, and its number of pictures."""
    archives = sorted(md5 for path, md5 in side.outputs.items() if Path(path).parent == RAW)
    files = [f"{kind}_{task}" for task in TASKS if task in name.split(".") for kind in ("counts", "preprocess")]
    return archives + [metrics[f"{file}.pictures.test"] for file in files if f"{file}.pictures.test" in metrics]
