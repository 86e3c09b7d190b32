"""The canonical checkpoint and the history, which a training leaves; and how a stranger's checkpoint is loaded."""

import inspect
import json
import re
import zipfile
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from pipeline.errors import InputError, one_line
from pipeline.outputs import replacing

MEMBERS = ["config.json", "metadata.json", "model.weights.h5"]  # of a .keras file


def save_checkpoint(model: keras.Model, weights: list[np.ndarray], path: Path) -> None:
    """Write the model, not compiled, with these weights as a .keras file that holds no trace of when or where.

    The same weights give the same bytes, so that DVC skips what depends on them.
    """
    model.set_weights(weights)
    with replacing(path) as draft:
        model.save(draft)
        _canonicalize(draft)


def _canonicalize(path: Path) -> None:
    """Take out of a .keras file what Keras writes otherwise every time, and what other versions of Keras do not know.

    That is the date, memory addresses as ids of shared objects, the zip's times, and arguments that are not used.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({"keras_version": metadata["keras_version"], "date_saved": ""}).encode()
    ids: dict[bytes, int] = {}
    config = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda match: str(ids.setdefault(match[0], len(ids))).encode(),
        members["config.json"],
    )
    members["config.json"] = json.dumps(json.loads(config, object_hook=_without_defaults)).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # 1980-01-01, stored


def _without_defaults(node: dict[str, Any]) -> dict[str, Any]:
    """Leave out of an object's configuration the arguments that say no more than their defaults.

    Older versions of Keras may lack them: 3.15 writes input_axes=None for each initializer, which 3.14 does not know.
    """
    try:
        cls = getattr(import_module(node["module"]), node["class_name"])
        defaults = {name: argument.default for name, argument in inspect.signature(cls).parameters.items()}
        config = {k: value for k, value in node["config"].items() if k not in defaults or defaults[k] != value}
        cls.from_config(deepcopy(config))  # which takes things out of what it is given
    except Exception:  # no object of Keras, or one that insists on an argument, as Rescaling on its offset
        return node
    return node | {"config": config}


def load_checkpoint(path: Path) -> keras.Model:
    """Load for prediction. Raises InputError if the file is missing, broken, or wants to run code of its own."""
    try:
        _check_members(path)
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises ValueError, TypeError, KeyError, OSError, BadZipFile, by what is broken
        cause = one_line(error).rpartition("Exception encountered: ")[2]
        raise InputError(f"{path}: not a Keras checkpoint: {cause[:300]}") from None


def _check_members(path: Path) -> None:
    """Refuse what Keras would expand, 2 MB to 2 GB, or unpack on the disk."""
    with zipfile.ZipFile(path) as archive:
        found = [(member.filename, member.compress_type) for member in archive.infolist()]
    if sorted(found) != [(name, zipfile.ZIP_STORED) for name in MEMBERS]:
        names = ", ".join(name if kind == zipfile.ZIP_STORED else f"{name} (compressed)" for name, kind in found)
        raise ValueError(f"it holds {names}; allowed: {', '.join(MEMBERS)}, once each, not compressed")


def history_csv(history: list[dict[str, float]]) -> str:
    """Return a row per epoch, as data/history/TASK.csv holds it: epoch, loss, accuracy, val_loss, val_accuracy."""
    return pd.DataFrame(history).to_csv(index=False)
