"""Two revisions side by side: parameters, stages with what changed them, pictures."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.paths import PLOTS
from pipeline.revisions import Revision, params_at

NOTHING = "-"


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts, by their keys joined with dots."""
    leaves = {}
    for key, value in tree.items():
        leaves |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def params_table(before: Revision, after: Revision) -> pd.DataFrame:
    """Return a row for each parameter that differs."""
    old, new = flatten(params_at(before)), flatten(params_at(after))
    rows = [[key, old.get(key, NOTHING), new.get(key, NOTHING)] for key in _differing(old, new)]
    return pd.DataFrame(rows, columns=["parameter", "base", "here"], dtype=object)


def stages_table(before: Revision, after: Revision) -> pd.DataFrame:
    """Return a row for each stage: unchanged, changed, new or gone; and because of what it changed."""
    rows = []
    for name in after.stages | before.stages:
        old, new = before.stages.get(name), after.stages.get(name)
        state = "unchanged" if old == new else "changed" if old and new else "gone" if old else "new"
        causes = _differing(_inputs(old), _inputs(new)) if old and new else []
        rows.append([name, state, ", ".join(causes) or NOTHING])
    return pd.DataFrame(rows, columns=["stage", "state", "because of"])


def pictures(before: Revision, after: Revision) -> list[Path]:
    """Return the PNGs of the stages that are changed or new."""
    changed = [entry for name, entry in after.stages.items() if before.stages.get(name) != entry]
    folders = {Path(out["path"]) for entry in changed for out in entry.get("outs", ())}
    return [path for folder in sorted(folders) if folder.parent == PLOTS for path in sorted(folder.glob("*.png"))]


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [key for key in new | old if old.get(key, NOTHING) != new.get(key, NOTHING)]


def _inputs(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a stage, by the names in its entry of dvc.lock."""
    params = flatten(entry.get("params", {}).get("params.yaml", {}))
    return {"its command": entry["cmd"]} | params | {dep["path"]: dep["md5"] for dep in entry.get("deps", ())}
