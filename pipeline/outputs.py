"""Outputs are written beside the old ones and replace them: whole or not at all, and never through a link of DVC's."""

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import writing
from pipeline.paths import METRICS


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a draft, of a file or a folder, that takes the place of `path` at the end.

    A draft that is not whole is removed. A kill in the middle leaves the old file or the new one; of a folder it may
    leave neither. Raises InputError for a full disk.
    """
    draft = path.with_name(f".draft-{path.name}")  # nobody else gives such a name
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(draft)  # of a run that was killed
        try:
            yield draft
            if draft.is_dir():
                _remove(path)
            draft.replace(path)
        finally:
            _remove(draft)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_metrics(name: str, values: dict[str, Any], columns: Collection[str] = ()) -> None:
    """Write data/metrics/NAME.json, numbers with all their digits. columns: what `dvc metrics show` shows of them."""
    shown = {key: value for key, value in values.items() if key in columns}
    details = {key: value for key, value in values.items() if key not in columns}  # in a list, where DVC does not look
    with replacing(METRICS / f"{name}.json") as draft:
        draft.write_text(json.dumps(shown | {"details": [details]}, indent=2) + "\n")


def read_metrics(text: str) -> dict[str, Any]:
    """Return the values that write_metrics wrote."""
    values = json.loads(text)
    (details,) = values.pop("details", [{}])  # none in a file of an earlier commit
    return values | details
