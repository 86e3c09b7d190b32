"""Stages preprocess_segmenter and preprocess_classifier: the two archives -> samples.csv and packed arrays.

    python -m pipeline.preprocess segmenter
    python -m pipeline.preprocess classifier

Reads   data/raw/images.tar.gz, data/raw/annotations.tar.gz (streamed: nothing is unpacked)
Writes  data/prepared/TASK/              samples.csv, images.npy, targets.npy
        data/prepared/rejects_TASK.csv   pictures left out, and why
        data/metrics/preprocess_TASK.json

Row k of samples.csv (stem, species, breed, split) describes row k of the arrays, in the order of the archive:
images.npy, uint8 (pictures, size, size, 3), and targets.npy, uint8 masks (pictures, size, size) of classes or labels
(pictures, 1). A task with labels gets every readable picture of the official lists, one with masks those that have a
trimap. The validation pictures of both are drawn together.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from joblib import cpu_count
from tqdm import tqdm

from pipeline.data.archives import read_lists, read_pictures, read_trimaps
from pipeline.data.pictures import Reject, Sample, prepare
from pipeline.errors import InputError
from pipeline.inputs import unchanged
from pipeline.outputs import replacing, write_metrics
from pipeline.params import Preprocess, load_params
from pipeline.paths import PREPARED, RAW
from pipeline.stage import run, task_argument
from pipeline.tasks import TASKS

SPLITS = pd.CategoricalDtype(["train", "validation", "test", "duplicate"])  # a duplicate stays in the later split


class ArrayFile:
    """A .npy file of uint8 rows that is appended to, for arrays whose length is known only at the end."""

    def __init__(self, file: BinaryIO, row_shape: tuple[int, ...]):
        self.file, self.shape = file, (0, *row_shape)
        self.write_header()

    def append(self, row: np.ndarray) -> None:
        self.file.write(row)
        self.shape = (self.shape[0] + 1, *self.shape[1:])

    def write_header(self) -> None:
        """Write how many rows there are; numpy pads the header so that a longer first axis fits in its place."""
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, {"descr": "|u1", "fortran_order": False, "shape": self.shape})


def prepare_all(
    pictures: Iterable[tuple[str, bytes]], trimaps: dict[str, bytes], size: int
) -> Iterator[Sample | Reject]:
    """Prepare on all cores, in order, with a bounded number in flight, so that memory stays flat.

    Threads are enough: pictures are decoded and resized without the interpreter lock.
    """
    cores = cpu_count()  # those that this process may use
    pending: deque[Future[Sample | Reject]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for stem, picture in pictures:
                pending.append(pool.submit(prepare, stem, picture, trimaps.get(stem), size))
                if len(pending) > 4 * cores:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def pack(
    samples: Iterable[Sample | Reject], folder: Path, row_shapes: dict[str, tuple[int, ...]]
) -> tuple[dict[str, bytes], list[Reject]]:
    """Write the arrays as the samples come: NAMEs.npy for each of the row shapes, by the name of a sample's field.

    Returns the digest of each sample by its stem, in the order of the arrays, and the rejects.
    """
    digests, rejects = {}, []
    with ExitStack() as opened:
        files = {
            name: ArrayFile(opened.enter_context((folder / f"{name}s.npy").open("wb")), shape)
            for name, shape in row_shapes.items()
        }
        for sample in samples:
            if isinstance(sample, Reject):
                rejects.append(sample)
                continue
            digests[sample.stem] = sample.digest
            for name, file in files.items():
                file.append(getattr(sample, name))
        for file in files.values():
            file.write_header()
    return digests, rejects


def rejected(stems: pd.Series, packed: Iterable[str], unreadable: list[Reject]) -> pd.DataFrame:
    """Return stem and reason of each stem that was not packed: the unreadable, then those not in the archive."""
    left_out = pd.DataFrame([(reject.stem, reject.reason) for reject in unreadable], columns=["stem", "reason"])
    missing = stems[~stems.isin([*packed, *left_out["stem"]])]
    return pd.concat([left_out, pd.DataFrame({"stem": missing, "reason": "not in images.tar.gz"})], ignore_index=True)


def carve_validation(listed: pd.DataFrame, params: Preprocess) -> pd.DataFrame:
    """Split trainval into train and validation, the same fraction of every breed; test stays as published."""
    drawn = (
        listed[listed["split"] == "trainval"]
        .groupby("breed")
        .sample(frac=params.validation_fraction, random_state=params.seed)
    )
    split = listed["split"].replace("trainval", "train").mask(listed.index.isin(drawn.index), "validation")
    return listed.assign(split=split.astype(SPLITS))


def mark_duplicates(samples: pd.DataFrame, digests: Iterable[bytes]) -> pd.DataFrame:
    """Mark `duplicate`, so that no split uses it, what is byte-identical to a picture of a later split.

    Later means train < validation < test: what a model is measured on stays, its copy leaves the training.
    """
    rank = samples["split"].cat.codes
    is_copy = rank < rank.groupby(list(digests)).transform("max")
    for stem in samples["stem"][is_copy]:
        print(f"preprocess: {stem} is byte-identical to a picture of another split: kept out of training")
    return samples.assign(split=samples["split"].mask(is_copy, "duplicate"))


def summarize(samples: pd.DataFrame, rejects: pd.DataFrame) -> dict:
    """Count the pictures that are used, for `dvc metrics`."""
    used = samples[samples["split"] != "duplicate"]
    splits, species = (used[column].astype(str).value_counts().sort_index() for column in ("split", "species"))
    counts = {"duplicates": len(samples) - len(used), "rejects": len(rejects)}
    return {"pictures": splits.to_dict(), "species": species.to_dict()} | counts


def check_rejects(rejects: pd.DataFrame, listed: int, allowed: float) -> None:
    """Raise InputError where more than the allowed fraction of the listed pictures was rejected."""
    if len(rejects) > allowed * listed:
        first = rejects.iloc[0]
        raise InputError(
            f"{len(rejects)} of {listed} pictures rejected, the first {first.stem}.jpg: {first.reason}; "
            f"allowed: {allowed:g} of them (preprocess.max_reject_fraction)"
        )


def check_splits(task: str, samples: pd.DataFrame, validation_fraction: float) -> None:
    """Raise InputError where a model would have nothing to learn or to be measured on."""
    column, labels = TASKS[task].column, TASKS[task].labels
    for split in ("train", "validation", "test"):
        used = samples[samples["split"] == split]
        if used.empty:
            hint = "" if split == "test" else f" (preprocess.validation_fraction is {validation_fraction:g})"
            raise InputError(f"no {split} pictures for the {task}; allowed: at least one{hint}")
        missing = [label for label in labels if label not in used[column].values] if column else []
        if missing:
            allowed = f"at least one each of {', '.join(labels)}"
            raise InputError(f"no {missing[0]} among the {split} pictures; allowed: {allowed}")


def preprocess(task: str) -> None:
    """Prepare the pictures of a task.

    Raises InputError for a broken archive or list, a wrong trimap, too many rejects, or an empty split.
    """
    with unchanged(f"preprocess_{task}"):
        params = load_params().preprocess
        listed, trimaps = carve_validation(read_lists(RAW / "annotations.tar.gz"), params), {}
        if TASKS[task].column is None:
            trimaps = read_trimaps(RAW / "annotations.tar.gz", listed["stem"])
            listed = listed[listed["stem"].isin(trimaps)]
        with replacing(PREPARED / task) as folder:
            folder.mkdir()
            samples, rejects = _write_arrays(task, listed, trimaps, folder, params)
            check_splits(task, samples, params.validation_fraction)
            samples.to_csv(folder / "samples.csv", index=False)
        write_metrics(f"preprocess_{task}", summarize(samples, rejects))


def _write_arrays(
    task: str, listed: pd.DataFrame, trimaps: dict[str, bytes], folder: Path, params: Preprocess
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write both arrays and the rejects. Returns the samples, in the order of the arrays, and the rejects."""
    size, column = getattr(params, f"{task}_size"), TASKS[task].column
    row_shapes = {"image": (size, size, 3)} | ({"target": (size, size)} if column is None else {})
    pictures = read_pictures(RAW / "images.tar.gz", listed["stem"])
    pictures = tqdm(pictures, f"preprocess {task}", len(listed), unit=" pictures", disable=None)
    digests, unreadable = pack(prepare_all(pictures, trimaps, size), folder, row_shapes)
    rejects = rejected(listed["stem"], digests, unreadable)
    with replacing(PREPARED / f"rejects_{task}.csv") as draft:
        rejects.to_csv(draft, index=False)
    check_rejects(rejects, len(listed), params.max_reject_fraction)
    samples = mark_duplicates(listed.set_index("stem").loc[list(digests)].reset_index(), digests.values())
    if column is not None:
        labels = samples[column].map(TASKS[task].labels.index)
        np.save(folder / "targets.npy", labels.to_numpy(np.uint8)[:, None])
    return samples, rejects


if __name__ == "__main__":
    run(preprocess, task_argument())
