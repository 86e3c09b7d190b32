"""Stages preprocess_segmenter and preprocess_classifier: the two archives -> samples.csv and packed arrays.

    python -m pipeline.preprocess segmenter
    python -m pipeline.preprocess classifier

Reads   data/raw/images.tar.gz, data/raw/annotations.tar.gz (streamed: nothing is unpacked)
Writes  data/prepared/TASK/              samples.csv, images.npy, for the segmenter masks.npy
        data/prepared/rejects_TASK.csv   pictures left out, and why
        data/metrics/preprocess_TASK.json

The classifier gets every readable picture of the official lists, the segmenter those that have a trimap. Row k of
samples.csv (stem, species, breed, split) describes row k of the arrays, in the order of the archive. The validation
pictures of both are drawn together.

Whatever is in the archives, memory stays under 1 GiB and 1 GiB for each core, and nothing is written elsewhere.
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

from pipeline.data.archives import Stems, Trimaps, read_lists, read_pictures, read_trimaps
from pipeline.data.pictures import Reject, Sample, prepare
from pipeline.errors import InputError, writing
from pipeline.outputs import write_metrics
from pipeline.params import Preprocess, load_params
from pipeline.paths import PREPARED, RAW
from pipeline.stage import run, task_argument

SPLITS = pd.CategoricalDtype(["train", "validation", "test", "duplicate"])  # a picture is measured on in the later one


class ArrayFile:
    """A .npy file of uint8 rows that is appended to, for arrays whose length is known only at the end."""

    def __init__(self, path: Path, row_shape: tuple[int, ...]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = path.open("wb")
        self.shape = (0, *row_shape)
        self._write_header()

    def append(self, row: np.ndarray) -> None:
        self.file.write(row)
        self.shape = (self.shape[0] + 1, *self.shape[1:])

    def close(self) -> None:
        self.file.seek(0)
        self._write_header()  # numpy pads the header so that a longer first axis fits in its place
        self.file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(self.file, {"descr": "|u1", "fortran_order": False, "shape": self.shape})


def prepare_all(pictures: Iterable[tuple[str, bytes]], trimaps: Trimaps | None, size: int) -> Iterator[Sample | Reject]:
    """Prepare on all cores, in order, with a bounded number in flight, so that memory stays flat.

    Threads are enough: pictures are decoded and resized without the interpreter lock.
    """
    cores = cpu_count()  # those that this process may use
    pending: deque[Future[Sample | Reject]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for stem, picture in pictures:
                trimap = trimaps.get(stem) if trimaps else None
                pending.append(pool.submit(prepare, stem, picture, trimap, size))
                if len(pending) > 4 * cores:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def pack(
    samples: Iterable[Sample | Reject], stems: Stems, folder: Path, row_shapes: dict[str, tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray, list[Reject]]:
    """Write an array for each of the row shapes, by the name of a sample's field, as the samples come.

    Returns of each sample, in the order of the arrays, its row among the stems, int64, and its digest, 16 bytes; and
    the rejects.
    """
    rows, digests = np.empty(len(stems), np.int64), np.empty(len(stems), "S16")
    packed, rejects = 0, []
    files = {name: ArrayFile(folder / f"{name}s.npy", shape) for name, shape in row_shapes.items()}
    for sample in samples:
        if isinstance(sample, Reject):
            rejects.append(sample)
            continue
        rows[packed], digests[packed] = stems.row(sample.stem), sample.digest
        packed += 1
        for name, file in files.items():
            file.append(getattr(sample, name))
    for file in files.values():
        file.close()
    return rows[:packed], digests[:packed], rejects


def rejected(stems: pd.Series, rows: np.ndarray, unreadable: list[Reject]) -> pd.DataFrame:
    """stem and reason of each stem that is no row of a sample: the unreadable, then those not in the archive."""
    left_out = pd.DataFrame([(reject.stem, reject.reason) for reject in unreadable], columns=["stem", "reason"])
    missing = stems[~np.isin(np.arange(len(stems)), rows)]
    missing = missing[~missing.isin(left_out["stem"])]
    return pd.concat([left_out, pd.DataFrame({"stem": missing, "reason": "not in images.tar.gz"})], ignore_index=True)


def carve_validation(listed: pd.DataFrame, params: Preprocess) -> pd.DataFrame:
    """Split trainval into train and validation, the same fraction of every breed; test stays as published."""
    drawn = (
        listed[listed["split"] == "trainval"]
        .sort_values("stem")
        .groupby("breed")
        .sample(frac=params.validation_fraction, random_state=params.seed)
    )
    split = listed["split"].cat.rename_categories({"trainval": "train"}).astype(SPLITS)
    return listed.assign(split=split.mask(listed.index.isin(drawn.index), "validation"))


def mark_duplicates(samples: pd.DataFrame, digests: np.ndarray) -> pd.DataFrame:
    """Mark `duplicate`, so that no split uses it, what is byte-identical to a picture of a later split.

    Later means train < validation < test: what a model is measured on stays, its copy leaves the training.
    """
    rank = samples["split"].cat.codes
    content = np.unique(digests, return_inverse=True)[1]  # numpy drops zeros at an end: all are of one length
    is_copy = rank < rank.groupby(content).transform("max")
    for stem in samples["stem"][is_copy]:
        print(f"preprocess: {stem} is byte-identical to a picture of another split: kept out of training")
    return samples.assign(split=samples["split"].mask(is_copy, "duplicate"))


def summarize(samples: pd.DataFrame, rejects: pd.DataFrame) -> dict:
    """Counts for `dvc metrics`."""
    used = samples[samples["split"] != "duplicate"]
    columns = {"pictures": "split", "species": "species", "breed": "breed"}
    counts = {name: sorted(used[column].value_counts().items()) for name, column in columns.items()}
    return {name: {value: count for value, count in found if count} for name, found in counts.items()} | {
        "duplicates": len(samples) - len(used),
        "rejects": len(rejects),
    }


def check(task: str, samples: pd.DataFrame, rejects: pd.DataFrame, listed: int, params: Preprocess) -> None:
    """Raise InputError where too much was rejected or a model would have nothing to learn or to be measured on."""
    allowed = params.max_reject_fraction
    if len(rejects) > allowed * listed:
        first = rejects.iloc[0]
        raise InputError(
            f"{len(rejects)} of {listed} pictures rejected, the first {first.stem}.jpg: {first.reason}; "
            f"allowed: {allowed:g} of them (preprocess.max_reject_fraction)"
        )
    for split in ("train", "validation", "test"):
        species = samples["species"][samples["split"] == split].unique()
        if not len(species):
            fraction = f" (preprocess.validation_fraction is {params.validation_fraction:g})"
            hint = "" if split == "test" else fraction
            raise InputError(f"no {split} pictures for the {task}; allowed: at least one{hint}")
        if task == "classifier" and len(species) < 2:
            raise InputError(f"only {species[0]}s among the {split} pictures; allowed: cats and dogs")


@writing(PREPARED)
def preprocess(task: str) -> None:
    """Raises InputError for a broken archive or list, a wrong trimap, too many rejects, or an empty split."""
    params, folder = load_params().preprocess, PREPARED / task
    size = getattr(params, f"{task}_size")
    row_shapes = {"image": (size, size, 3)} | ({"mask": (size, size)} if task == "segmenter" else {})
    listed, trimaps = carve_validation(read_lists(RAW / "annotations.tar.gz"), params), None
    if task == "segmenter":
        trimaps = read_trimaps(RAW / "annotations.tar.gz", Stems(listed["stem"]), PREPARED)
        listed = listed[trimaps.found]
    stems = Stems(listed["stem"])

    pictures = read_pictures(RAW / "images.tar.gz", stems)
    pictures = tqdm(pictures, f"preprocess {task}", len(stems), unit=" pictures", disable=None)
    rows, digests, unreadable = pack(prepare_all(pictures, trimaps, size), stems, folder, row_shapes)
    rejects = rejected(listed["stem"], rows, unreadable)
    rejects.to_csv(PREPARED / f"rejects_{task}.csv", index=False)

    samples = mark_duplicates(listed.iloc[rows].reset_index(drop=True), digests)
    check(task, samples, rejects, len(listed), params)
    samples.to_csv(folder / "samples.csv", index=False, chunksize=1_000)  # rows that are Python's strings meanwhile
    write_metrics(f"preprocess_{task}", summarize(samples, rejects))


if __name__ == "__main__":
    run(preprocess, task_argument())
