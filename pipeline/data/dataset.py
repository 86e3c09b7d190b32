"""The prepared pictures of a task, which stay on the disk: only the rows that are asked for are read."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import InputError
from pipeline.paths import PREPARED


class PackedArray:
    """The rows of a .npy file of uint8, read as they are asked for.

    A mapped file would do the same, but its pages count as this process' memory, until they are the whole file.
    Raises what np.load raises for a file that is missing, broken, or shorter than it says.
    """

    def __init__(self, path: Path):
        mapped = np.load(path, mmap_mode="r")  # to have it checked
        if mapped.dtype != np.uint8 or not mapped.flags.c_contiguous:
            raise ValueError(f"{path.name} holds {mapped.dtype}; allowed: uint8, row by row")
        self.shape, self.offset = mapped.shape, mapped.offset
        self.file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Read uint8 (rows, ...) for an array of row numbers. Raises EOFError for a row that is not there."""
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for target, row in zip(found, rows, strict=True):
            if os.preadv(self.file.fileno(), [target], self.offset + int(row) * target.nbytes) < target.nbytes:
                raise EOFError(f"{self.file.name}: no row {row}; has the file been written anew?")
        return found


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
        """Pixels, height and width."""
        return self.images.shape[1]

    @property
    def has_masks(self) -> bool:
        """Whether a target is a mask, with a class for each pixel, rather than a label."""
        return self.targets.shape[1:] == self.images.shape[1:3]

    def rows(self, split: str) -> np.ndarray:
        """Return the indices of the pictures of a split: "train", "validation" or "test"."""
        rows = np.flatnonzero(self.samples["split"] == split)
        return rows[: len(rows) - len(rows) % self.replicas]


def load_dataset(task: str, replicas: int = 1) -> Dataset:
    """Open what `preprocess` wrote for a task. Raises InputError if that is not whole, or too little to train on."""
    folder = PREPARED / task
    try:
        samples = pd.read_csv(folder / "samples.csv", keep_default_na=False)
        images, targets = PackedArray(folder / "images.npy"), PackedArray(folder / "targets.npy")
        data = Dataset(samples, images, targets, replicas)
        found = {split: int((samples["split"] == split).sum()) for split in ("train", "validation")}
    except (OSError, EOFError, ValueError, KeyError, AttributeError) as error:  # AttributeError: an .npz
        raise InputError(f"{folder}: {error}; `dvc repro preprocess_{task}` makes it") from None
    if not len(samples) == len(images) == len(targets):
        rows = f"{len(samples)} rows in samples.csv, {len(images)} in images.npy, {len(targets)} in targets.npy"
        raise InputError(f"{folder}: {rows}; `dvc repro preprocess_{task}` makes it")
    for split, pictures in found.items():
        if pictures < replicas:
            raise InputError(
                f"{folder}: {pictures} {split} pictures; allowed: at least {replicas}, one for each replica"
            )
    return data
