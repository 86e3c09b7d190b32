"""The prepared pictures of a task, which stay on the disk: only the rows that are asked for are read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import InputError
from pipeline.paths import PREPARED


class PackedArray:
    """The rows of a .npy file, read as they are asked for.

    Each read maps the file anew. The pages of one mapping would count as memory until they are the whole file.
    Raises what np.load raises for a file that is missing, broken, or shorter than it says.
    """

    def __init__(self, path: Path):
        self.path, self.shape = path, np.load(path, mmap_mode="r").shape

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of the rows of these numbers. Raises IndexError for a row that is not there."""
        return np.load(self.path, mmap_mode="r")[rows]


@dataclass(frozen=True)
class Dataset:
    """The prepared pictures of one task.

    samples: a row per picture (stem, species, breed, split).
    images: uint8 (pictures, size, size, 3).
    targets: uint8; masks of classes (pictures, size, size), or labels (pictures, 1).
    replicas: how many devices share each batch; of a split, as many pictures are used as can be shared evenly.
    """

    samples: pd.DataFrame
    images: PackedArray | np.ndarray
    targets: PackedArray | np.ndarray
    replicas: int = 1

    @property
    def image_size(self) -> int:
        """Return the pictures' height and width in pixels."""
        return self.images.shape[1]

    @property
    def has_masks(self) -> bool:
        """Tell whether a target is a mask, with a class for each pixel, rather than a label."""
        return self.targets.shape[1:] == self.images.shape[1:3]

    def rows(self, split: str) -> np.ndarray:
        """Return the indices of the pictures of a split: "train", "validation" or "test"."""
        rows = np.flatnonzero(self.samples["split"] == split)
        return rows[: len(rows) - len(rows) % self.replicas]


def load_dataset(task: str, replicas: int = 1) -> Dataset:
    """Open what `preprocess` wrote for a task. Raises InputError for a broken file, or too little to train on."""
    folder = PREPARED / task
    try:
        samples = pd.read_csv(folder / "samples.csv", keep_default_na=False)
        data = Dataset(samples, PackedArray(folder / "images.npy"), PackedArray(folder / "targets.npy"), replicas)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{folder}: {error}; `dvc repro preprocess_{task}` makes it") from None
    for split in ("train", "validation"):
        if not data.rows(split).size:
            raise InputError(f"{folder}: too few {split} pictures; allowed: at least {replicas}, one for each replica")
    return data
