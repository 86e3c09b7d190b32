"""Two revisions side by side: parameters, stages, metrics with a verdict each, pictures. Tables for the report."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.exceptions import DvcException
from dvc.utils.flatten import flatten
from dvc.utils.serialize import parse_yaml

from pipeline.paths import METRICS, PLOTS, RAW
from pipeline.revisions import Revision, file_at, revision
from pipeline.stage import outputs, times_note
from pipeline.tasks import TASKS

METRIC_FILES = (*TASKS, "training", *(f"preprocess_{task}" for task in TASKS))
NOTHING = "-"


@dataclass(frozen=True)
class Metric:
    """A figure of one revision, with its 95 % interval where evaluate gives one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        value = f"{self.value:#.4g}" if isinstance(self.value, float) else str(self.value)
        return value if self.low is None else f"{value} ({self.low:#.4g} to {self.high:#.4g})"


def params_of(side: Revision) -> dict[str, Any]:
    """params.yaml, by `section.key`, numbers as DVC reads them; empty where there is none that a stage could read."""
    try:
        params = parse_yaml(file_at(side, "params.yaml"), "params.yaml")
    except DvcException:
        return {}
    return flatten(params) if isinstance(params, dict) else {}


def metrics_of(side: Revision) -> dict[str, Metric]:
    """What data/metrics/ holds, by `file.name`, of files that are those dvc.lock names: others are of other runs."""
    texts = {name: file_at(side, str(METRICS / f"{name}.json")) for name in METRIC_FILES}
    made = outputs(side.stages)
    found = {name: hashlib.md5(text.encode()).hexdigest() for name, text in texts.items()}
    whole = [name for name, md5 in found.items() if made.get(str(METRICS / f"{name}.json")) == md5]
    values = flatten({name: json.loads(texts[name]) for name in whole})
    ends = {f"{name}_{end}" for name in values for end in ("low", "high") if f"{name}_low" in values}
    return {
        name: Metric(value, values.get(f"{name}_low"), values.get(f"{name}_high"))
        for name, value in values.items()
        if value is not None and name not in ends and ".breed." not in name  # 37 counts
    }


def verdict(before: Metric | None, after: Metric | None) -> str:
    """Better or worse where the intervals do not overlap: of the metrics that have one, more is better."""
    if before is None or after is None:
        return "new" if before is None else "gone"
    if before == after:
        return "unchanged"
    if before.low is None or after.low is None:
        return "no interval"
    return "better" if after.low > before.high else "worse" if after.high < before.low else "within noise"


def metrics_table(before: Revision, after: Revision) -> pd.DataFrame:
    """A row for each metric that differs, and for each that counts: it has an interval, `headline` is true."""
    old, new, rows = metrics_of(before), metrics_of(after), []
    same_archives = _archives(before) == _archives(after)
    for name in dict.fromkeys([*new, *old]):
        was, now = old.get(name), new.get(name)
        headline = any(one and one.low is not None for one in (was, now))
        if was != now or headline:
            difference = f"{now.value - was.value:+.4g}" if was and now else NOTHING
            count = next((f"preprocess_{task}.pictures.test" for task in TASKS if task in name.split(".")), "")
            same_data = same_archives and old.get(count) == new.get(count)
            said = verdict(was, now) if same_data or not (was and now) else "other data"
            rows.append([name, str(was or NOTHING), str(now or NOTHING), difference, said, headline])
    return pd.DataFrame(rows, columns=["metric", "base", "here", "difference", "verdict", "headline"])


def _archives(side: Revision) -> list[str]:
    """The md5s of the archives, of which the test split is a part."""
    return sorted(md5 for path, md5 in outputs(side.stages).items() if Path(path).parent == RAW)


def params_table(before: Revision, after: Revision) -> pd.DataFrame:
    """A row for each parameter that differs."""
    old, new = params_of(before), params_of(after)
    rows = [[key, old.get(key, NOTHING), new.get(key, NOTHING)] for key in dict.fromkeys([*new, *old])]
    return pd.DataFrame([row for row in rows if row[1] != row[2]], columns=["parameter", "base", "here"], dtype=object)


def overrides(before: Revision, after: Revision) -> list[str]:
    """The parameters that are the same on both sides and other in HEAD: what HEAD says of them is not seen here."""
    old, new, committed = params_of(before), params_of(after), params_of(revision("HEAD"))
    return [
        f"`{key}: {value}` instead of `{committed.get(key, NOTHING)}`"
        for key, value in new.items()
        if key in old and old[key] == value != committed.get(key, NOTHING)
    ]


def stages_table(before: Revision, after: Revision) -> pd.DataFrame:
    """What became of each stage, against the base, how long it took, and what set it going."""
    rows = []
    for name in dict.fromkeys([*after.stages, *before.stages]):
        old, new = before.stages.get(name), after.stages.get(name)
        if old == new:
            rows.append([name, "stood still", NOTHING, NOTHING])
        elif new is None:
            rows.append([name, "gone", NOTHING, NOTHING])
        else:
            rows.append([name, *_ran_or_restored(name), ", ".join(_causes(old, new)) if old else "not in the base"])
    return pd.DataFrame(rows, columns=["stage", "state", "seconds", "because of"])


def _ran_or_restored(name: str) -> tuple[str, str]:
    """Whether what made the outputs ran in this repository: else they are from DVC's run cache or a remote."""
    note = times_note(name)
    if not note.exists():
        return "restored", NOTHING
    took = json.loads(note.read_text())
    return f"ran, until {took['ended']}", f"{took['seconds']:.1f}"


def _causes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """The parameters, files and earlier outputs that differ between two entries of dvc.lock."""
    if old["cmd"] != new["cmd"]:
        yield "its command"
    for was, now in zip(_decided_by(old), _decided_by(new), strict=True):
        yield from (name for name in dict.fromkeys([*now, *was]) if was.get(name) != now.get(name))


def _decided_by(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    params = flatten(entry.get("params", {}).get("params.yaml", {}))
    return params, {dep["path"]: dep["md5"] for dep in entry.get("deps", ())}


def pictures(before: Revision, after: Revision) -> list[Path]:
    """The PNGs of the stages that did not stand still, curves first."""
    changed = {name: new for name, new in after.stages.items() if before.stages.get(name) != new}
    folders = [Path(path) for path in outputs(changed) if Path(path).parent == PLOTS]
    in_order = sorted(folders, key=lambda folder: (folder.name != "curves", folder.name))
    return [path for folder in in_order for path in sorted(folder.glob("*.png"))]
