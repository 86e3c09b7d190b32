"""Stages preprocess_segmenter and preprocess_classifier: the two archives -> samples.csv and packed arrays.

    python -m pipeline.preprocess segmenter
    python -m pipeline.preprocess classifier

Reads   data/raw/images.tar.gz, data/raw/annotations.tar.gz (streamed: nothing is unpacked)
Writes  data/prepared/TASK/              samples.csv, images.npy, targets.npy
        data/prepared/rejects_TASK.csv   pictures left out, and why
        data/metrics/counts_TASK.json

Row k of samples.csv (stem, species, breed, split) describes row k of the arrays, in the order of the archive:
images.npy, uint8 (pictures, size, size, 3), and targets.npy, uint8 masks (pictures, size, size) of classes or labels
(pictures, 1). A task with labels gets every readable picture of the official lists, one with masks those that have a
trimap. The validation pictures of both are drawn together.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from joblib import cpu_count
from tqdm import tqdm

from pipeline.data.archives import read_lists, read_pictures, read_trimaps
from pipeline.data.pictures import Sample, Unreadable, prepare
from pipeline.errors import InputError
from pipeline.inputs import unchanged
from pipeline.outputs import replacing, write_metrics
from pipeline.params import Preprocess, load_params
from pipeline.paths import PREPARED, RAW
from pipeline.stage import run, task_argument
from pipeline.tasks import TASKS

SPLITS = pd.CategoricalDtype(["train", "validation", "test", "duplicate"])  # a duplicate stays in the later split


def carve_validation(listed: pd.DataFrame, params: Preprocess) -> pd.DataFrame:
    """Split trainval into train and validation, the same fraction of every breed; test stays as published."""
    trainval = listed[listed["split"] == "trainval"]
    drawn = trainval.groupby("breed").sample(frac=params.validation_fraction, random_state=params.seed)
    split = listed["split"].replace("trainval", "train").mask(listed.index.isin(drawn.index), "validation")
    return listed.assign(split=split.astype(SPLITS))


def prepare_all(
    pictures: Iterable[tuple[str, bytes]], trimaps: dict[str, bytes], size: int
) -> Iterator[tuple[str, Future[Sample]]]:
    """Prepare on all cores, in order, with a bounded number in flight, so that memory stays flat.

    Yields stems and samples. Threads are enough: pictures are decoded and resized without the interpreter lock.
    """
    cores = cpu_count()  # those that this process may use
    pending = deque()
    with ThreadPoolExecutor(cores) as pool:
        for stem, picture in pictures:
            pending.append((stem, pool.submit(prepare, picture, trimaps.get(stem), size)))
            if len(pending) > 4 * cores:
                yield pending.popleft()
        yield from pending


def pack(
    samples: Iterable[tuple[str, Future[Sample]]], folder: Path, size: int, labels: dict[str, int] | None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Write images.npy and targets.npy as the samples come. labels: by stem; None where the targets are the masks.

    Returns by stem the digest of what is in the arrays, in their order, and the reason of what is not.
    """
    digests, rejects = {}, {}
    with (folder / "images.npy").open("wb") as images, (folder / "targets.npy").open("wb") as targets:
        rows = ((images, (size, size, 3)), (targets, (size, size) if labels is None else (1,)))
        for file, shape in rows:
            _write_header(file, 0, *shape)
        for stem, prepared in samples:
            try:
                sample = prepared.result()
            except Unreadable as error:
                rejects[stem] = str(error)
                continue
            digests[stem] = sample.digest
            images.write(sample.image)
            targets.write(sample.mask if labels is None else bytes([labels[stem]]))
        for file, shape in rows:
            _write_header(file, len(digests), *shape)
    return digests, rejects


def _write_header(file: BinaryIO, *shape: int) -> None:
    """Begin a .npy file of uint8; numpy pads the header so that a longer first axis fits in its place."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def write_rejects(task: str, rejects: dict[str, str], listed: int, allowed: float) -> None:
    """Write why pictures are left out, by stem. Raises InputError for more than the allowed fraction of the listed."""
    with replacing(PREPARED / f"rejects_{task}.csv") as draft:
        pd.DataFrame(rejects.items(), columns=["stem", "reason"]).to_csv(draft, index=False)
    if len(rejects) > allowed * listed:
        stem, reason = next(iter(rejects.items()))
        raise InputError(
            f"{len(rejects)} of {listed} pictures rejected, the first {stem}.jpg: {reason}; "
            f"allowed: {allowed:g} of them (preprocess.max_reject_fraction)"
        )


def mark_duplicates(samples: pd.DataFrame, digests: Iterable[bytes]) -> pd.DataFrame:
    """Mark `duplicate`, so that no split uses it, what is byte-identical to a picture of a later split.

    Later means train < validation < test: what a model is measured on stays, its copy leaves the training.
    """
    rank = samples["split"].cat.codes
    is_copy = rank < rank.groupby(list(digests)).transform("max")
    return samples.assign(split=samples["split"].mask(is_copy, "duplicate"))


def check_splits(task: str, samples: pd.DataFrame) -> None:
    """Raise InputError where a model would have nothing to learn or to be measured on."""
    column, labels = TASKS[task].column, TASKS[task].labels
    for split in ("train", "validation", "test"):
        used = samples[samples["split"] == split]
        missing = [label for label in labels if label not in used[column].values] if column else ["pet"] * used.empty
        if missing:
            remedy = "the lists name the test pictures, preprocess.validation_fraction divides the others"
            raise InputError(f"no {missing[0]} in the {split} split of the {task}; allowed: at least one; {remedy}")


def summarize(samples: pd.DataFrame, rejects: int) -> dict:
    """Count the pictures that are used."""
    used = samples[samples["split"] != "duplicate"]
    splits, species = (used[column].astype(str).value_counts().sort_index() for column in ("split", "species"))
    counts = {"duplicates": len(samples) - len(used), "rejects": rejects}
    return {"pictures": splits.to_dict(), "species": species.to_dict()} | counts


def preprocess(task: str) -> None:
    """Prepare the pictures of a task.

    Raises InputError for a broken archive or list, too many rejects, or a split without a picture or a label.
    """
    with unchanged(f"preprocess_{task}"):
        params, column, trimaps = load_params().preprocess, TASKS[task].column, {}
        listed = carve_validation(read_lists(RAW / "annotations.tar.gz"), params)
        if column is None:
            trimaps = read_trimaps(RAW / "annotations.tar.gz", listed["stem"])
            listed = listed[listed["stem"].isin(trimaps)]
        with replacing(PREPARED / task) as folder:
            folder.mkdir()
            digests, rejects = _pack_listed(task, listed, trimaps, folder, getattr(params, f"{task}_size"))
            write_rejects(task, rejects, len(listed), params.max_reject_fraction)
            samples = mark_duplicates(listed.set_index("stem").loc[list(digests)].reset_index(), digests.values())
            check_splits(task, samples)
            samples.to_csv(folder / "samples.csv", index=False)
        write_metrics(f"counts_{task}", summarize(samples, len(rejects)))


def _pack_listed(
    task: str, listed: pd.DataFrame, trimaps: dict[str, bytes], folder: Path, size: int
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Do as `pack` for the listed pictures; one that is not in the archive is also left out with a reason."""
    column, labels = TASKS[task].column, None
    if column is not None:
        labels = dict(zip(listed["stem"], listed[column].map(TASKS[task].labels.index), strict=True))
    pictures = read_pictures(RAW / "images.tar.gz", listed["stem"])
    pictures = tqdm(pictures, f"preprocess {task}", len(listed), unit=" pictures", disable=None)
    digests, rejects = pack(prepare_all(pictures, trimaps, size), folder, size, labels)
    missing = listed["stem"][~listed["stem"].isin([*digests, *rejects])]
    return digests, rejects | dict.fromkeys(missing, "not in images.tar.gz")


if __name__ == "__main__":
    run(preprocess, task_argument())
