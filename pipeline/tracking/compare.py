"""Runs side by side: the parameters that differ, every metric, and the difference to the first run."""

from pathlib import Path

import pandas as pd
from mlflow.entities import Run

from pipeline.errors import InputError
from pipeline.tasks import TASKS
from pipeline.tracking.registry import champion_of
from pipeline.tracking.search import named_runs, search

WRITERS = {".csv": pd.DataFrame.to_csv, ".md": pd.DataFrame.to_markdown}


def compare(names: list[str], out: Path | None) -> None:
    """Print a table for each task, and write them, joined, to a .csv or .md file. Raises InputError.

    names: as `named_runs` takes them; none for every finished run, the champion first.
    """
    if out and out.suffix not in WRITERS:
        raise InputError(f"{out}: ends in {out.suffix!r}; allowed: {', '.join(WRITERS)}")
    found = [named_runs(name) for name in names] or [_all_runs()]
    tables = {}
    for task in TASKS:
        runs = {run.info.run_id: run for by_task in found for run in by_task.get(task, [])}
        if runs:
            tables[task] = table(list(runs.values()))
            print(f"pets-{task}\n{tables[task].to_string(float_format='{:.6g}'.format, na_rep='')}\n")
    if not tables:
        raise InputError("there is no finished run to compare; `dvc repro` or `make demo` makes some")
    if out:
        try:
            WRITERS[out.suffix](pd.concat(tables, names=["task"]).reset_index(), out, index=False)
        except OSError as error:
            raise InputError(f"{out}: {error.strerror or error}") from None


def table(runs: list[Run]) -> pd.DataFrame:
    """A row for each parameter that differs and for each metric; a column for each run, and for its difference."""
    columns = {f"{run.info.run_name} {run.info.run_id[:6]}": run for run in runs}
    params = pd.DataFrame({label: run.data.params for label, run in columns.items()})
    metrics = pd.DataFrame({label: run.data.metrics for label, run in columns.items()}).sort_index()
    first, *others = columns
    changes = metrics[others].sub(metrics[first], axis="index").add_suffix(" difference")
    rows = pd.concat([params[params.nunique(axis="columns", dropna=False) > 1], metrics.join(changes)])
    in_order = [first, *(name for label in others for name in (label, f"{label} difference"))]
    return rows.reindex(columns=in_order).rename_axis("name")


def _all_runs() -> dict[str, list[Run]]:
    runs = {}
    for task in TASKS:
        finished, champion = search(task, "attributes.status = 'FINISHED'"), champion_of(task)
        runs[task] = sorted(finished, key=lambda run: champion is None or run.info.run_id != champion.run_id)
    return runs
