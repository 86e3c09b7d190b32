"""What decides the outputs of a stage: dvc.yaml names it, and nothing else does."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.params import load_params, read_yaml


def inputs(stage: str) -> dict[str, Any]:
    """Return the parameters of a stage by value and its dependencies by md5, None for one that is missing.

    Raises InputError for wrong parameters, or a folder without dvc.yaml.
    """
    params = load_params().model_dump()
    try:
        entry = read_yaml("dvc.yaml", Path("dvc.yaml").read_bytes())["stages"][stage]
    except FileNotFoundError:
        raise InputError(f"dvc.yaml: no such file in {Path.cwd()}; run in the root of a clone") from None

    def value(key: str) -> Any:
        return reduce(dict.__getitem__, key.split("."), params)

    paths = [re.sub(r"\$\{([\w.]+)\}", lambda match: str(value(match[1])), dep) for dep in entry["deps"]]
    return {key: value(key) for key in entry["params"]} | {
        path: content_md5(Path(path)) if Path(path).exists() else None for path in paths
    }


@contextmanager
def unchanged(stage: str) -> Iterator[dict[str, Any]]:
    """Yield the inputs of a stage at work. Raises InputError at the end if one is no longer what it was.

    DVC takes the md5s of dependencies after a stage has run. An edit while it runs would pass for what made the
    outputs.
    """
    before = inputs(stage)
    yield before
    after = inputs(stage)
    if edited := [name for name in before | after if before.get(name) != after.get(name)]:
        remedy = "undo that and run again, nothing is lost; or run again to train with the edit"
        raise InputError(f"{', '.join(edited)}: edited while {stage} ran; {remedy}")


def content_md5(path: Path) -> str:
    """Return the md5 by which dvc.lock names a file, or a folder without folders in it (there it ends in `.dir`)."""
    if path.is_dir():
        entries = [{"md5": content_md5(file), "relpath": file.name} for file in sorted(path.iterdir())]
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
