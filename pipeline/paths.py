"""Where everything lies, relative to the repository's root, which is the working directory of every program here."""

import os
from pathlib import Path

from pipeline.errors import InputError

RAW = Path("data/raw")  # the two archives
PREPARED = Path("data/prepared")  # a folder per task: samples.csv and packed arrays
MODELS = Path("data/models")  # TASK.keras, the best checkpoint
HISTORY = Path("data/history")  # TASK.csv, a row per epoch
METRICS = Path("data/metrics")  # JSON, which Git keeps
PLOTS = Path("data/plots")  # CSV for `dvc plots`, and PNG


def checkpoint(task: str) -> Path:
    """Return the path of a task's checkpoint. Raises InputError where there is none."""
    if not (path := MODELS / f"{task}.keras").exists():
        ways = "`dvc pull` fetches it, `dvc repro` trains it; for the demo's: `make demo`, then `dvc exp apply demo`"
        raise InputError(f"{path}: no such file; {ways}")
    return path


def root() -> Path:
    """Return the repository's root, where state that outlives a stage lies.

    DVC sets DVC_ROOT. Under `dvc exp run --temp` it names the repository, not the temporary folder the stage runs in.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
