"""A prepared folder in which every picture shows its own row number."""

from pathlib import Path

import numpy as np
import pandas as pd

SIZE = 4
SPLITS = ["test", "train", "train", "duplicate", "validation", "train", "train", "train", "test", "train"] * 2
SPECIES = ["cat", "dog", "dog", "cat", "dog"] * 4


def write_rows(task: str) -> None:
    """Write data/prepared/TASK: picture k is filled with k, its mask with k % 3; its label is 1 for dogs."""
    folder = Path("data/prepared") / task
    folder.mkdir(parents=True)
    stems = [f"breed_{k}" for k in range(len(SPLITS))]
    samples = pd.DataFrame({"stem": stems, "species": SPECIES, "breed": "breed", "split": SPLITS})
    samples.to_csv(folder / "samples.csv", index=False)
    rows = np.arange(len(SPLITS), dtype=np.uint8)[:, None, None]
    labels = np.array([[species == "dog"] for species in SPECIES], np.uint8)
    np.save(folder / "images.npy", np.broadcast_to(rows[..., None], (len(SPLITS), SIZE, SIZE, 3)))
    np.save(folder / "targets.npy", np.broadcast_to(rows % 3, (20, SIZE, SIZE)) if task == "segmenter" else labels)
