"""Stage preprocess: the two archives -> samples.csv and packed arrays, a folder for each model.

    python -m pipeline.preprocess

Reads   data/raw/images.tar.gz, data/raw/annotations.tar.gz (streamed: nothing is unpacked)
Writes  data/prepared/classifier/  samples.csv, images.npy             every readable picture of the official lists
        data/prepared/segmenter/   samples.csv, images.npy, masks.npy  those of them that have a trimap
        data/prepared/rejects.csv  pictures left out, and why
        data/metrics/preprocess.json

Row k of samples.csv (stem, species, breed, split) describes row k of the arrays, in the order of the archive.

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

from pipeline.archives import read_annotations, read_pictures
from pipeline.params import Preprocess, load_params
from pipeline.pictures import Reject, Sample, prepare
from pipeline.stage import PREPARED, RAW, InputError, run, write_metrics, writing


class ArrayFile:
    """A .npy file of uint8 rows that is appended to, for arrays whose length is known only at the end."""

    def __init__(self, path: Path, row_shape: tuple[int, ...]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = path.open("wb")
        self.shape = (0, *row_shape)
        self._write_header()

    def append(self, row: np.ndarray) -> None:
        self.file.write(row.tobytes())
        self.shape = (self.shape[0] + 1, *self.shape[1:])

    def close(self) -> None:
        self.file.seek(0)
        self._write_header()  # numpy pads the header so that a longer first axis fits in its place
        self.file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(self.file, {"descr": "|u1", "fortran_order": False, "shape": self.shape})


def prepare_all(
    pictures: Iterable[tuple[str, bytes]], trimaps: dict[str, bytes], params: Preprocess
) -> Iterator[Sample | Reject]:
    """Prepare on all cores, in order, with a bounded number in flight, so that memory stays flat.

    Threads are enough: Pillow decodes and resizes without the interpreter lock.
    """
    cores = cpu_count()  # those that this process may use
    pending: deque[Future[Sample | Reject]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for stem, picture in pictures:
                pending.append(pool.submit(prepare, stem, picture, trimaps.get(stem), params))
                if len(pending) > 4 * cores:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def pack(samples: Iterable[Sample | Reject], params: Preprocess) -> tuple[pd.DataFrame, list[Reject]]:
    """Write the arrays as the samples come.

    Returns a row per sample in the order of the arrays (stem, digest, has_mask), and the rejects.
    """
    rows, rejects = [], []
    classifier_size, segmenter_size = params.classifier_size, params.segmenter_size
    pictures = ArrayFile(PREPARED / "classifier/images.npy", (classifier_size, classifier_size, 3))
    segmented = ArrayFile(PREPARED / "segmenter/images.npy", (segmenter_size, segmenter_size, 3))
    masks = ArrayFile(PREPARED / "segmenter/masks.npy", (segmenter_size, segmenter_size))
    for sample in samples:
        if isinstance(sample, Reject):
            rejects.append(sample)
            continue
        rows.append((sample.stem, sample.digest, sample.mask is not None))
        pictures.append(sample.classifier_image)
        if sample.mask is not None:
            segmented.append(sample.segmenter_image)
            masks.append(sample.mask)
    for array in (pictures, segmented, masks):
        array.close()
    return pd.DataFrame(rows, columns=["stem", "digest", "has_mask"]), rejects


def carve_validation(listed: pd.DataFrame, params: Preprocess) -> pd.DataFrame:
    """Split trainval into train and validation, the same fraction of every breed; test stays as published."""
    drawn = (
        listed[listed["split"] == "trainval"]
        .sort_values("stem")
        .groupby("breed")
        .sample(frac=params.validation_fraction, random_state=params.seed)
    )
    split = listed["split"].replace("trainval", "train").mask(listed.index.isin(drawn.index), "validation")
    return listed.assign(split=split)


def mark_duplicates(samples: pd.DataFrame) -> pd.DataFrame:
    """Mark `duplicate`, so that no split uses it, what is byte-identical to a picture of a later split.

    Later means train < validation < test: what a model is measured on stays, its copy leaves the training.
    """
    rank = samples["split"].map({"train": 0, "validation": 1, "test": 2})
    is_copy = rank < rank.groupby(samples["digest"]).transform("max")
    for stem in samples["stem"][is_copy]:
        print(f"preprocess: {stem} is byte-identical to a picture of another split: kept out of training")
    return samples.assign(split=samples["split"].mask(is_copy, "duplicate"))


def summarize(samples: pd.DataFrame, rejects: list[Reject]) -> dict:
    """Counts for `dvc metrics`."""
    used = samples[samples["split"] != "duplicate"]
    return {
        "pictures": used["split"].value_counts().sort_index().to_dict(),
        "masks": used[used["has_mask"]]["split"].value_counts().sort_index().to_dict(),
        "species": used["species"].value_counts().sort_index().to_dict(),
        "breed": used["breed"].value_counts().sort_index().to_dict(),
        "without_mask": int((~used["has_mask"]).sum()),
        "duplicates": len(samples) - len(used),
        "rejects": len(rejects),
    }


def check(samples: pd.DataFrame, rejects: list[Reject], listed: int, params: Preprocess) -> None:
    """Raise InputError where too much was rejected or a model would have nothing to learn or to be measured on."""
    allowed = params.max_reject_fraction
    if len(rejects) > allowed * listed:
        raise InputError(
            f"{len(rejects)} of {listed} pictures rejected, the first {rejects[0].stem}.jpg: {rejects[0].reason}; "
            f"allowed: {allowed:g} of them (preprocess.max_reject_fraction)"
        )
    for model, rows in (("classifier", samples), ("segmenter", samples[samples["has_mask"]])):
        for split in ("train", "validation", "test"):
            if not (rows["split"] == split).any():
                fraction = f" (preprocess.validation_fraction is {params.validation_fraction:g})"
                hint = "" if split == "test" else fraction
                raise InputError(f"no {split} pictures for the {model}; allowed: at least one{hint}")
            if model == "classifier" and (rows[rows["split"] == split]["species"].nunique() < 2):
                found = rows[rows["split"] == split]["species"].iloc[0]
                raise InputError(f"only {found}s among the {split} pictures; allowed: cats and dogs")


@writing(PREPARED)
def preprocess() -> None:
    """Raises InputError for a broken archive or list, a wrong trimap, too many rejects, or an empty split."""
    params = load_params().preprocess
    annotations = read_annotations(RAW / "annotations.tar.gz")
    listed = carve_validation(annotations.listed, params)
    stems = set(listed["stem"])

    pictures = tqdm(
        read_pictures(RAW / "images.tar.gz", stems), "preprocess", len(stems), unit=" pictures", disable=None
    )
    packed, rejects = pack(prepare_all(pictures, annotations.trimaps, params), params)
    found = {*packed["stem"], *(reject.stem for reject in rejects)}
    rejects += [Reject(stem, "not in images.tar.gz") for stem in sorted(stems - found)]
    pd.DataFrame(rejects, columns=["stem", "reason"]).to_csv(PREPARED / "rejects.csv", index=False)

    samples = mark_duplicates(packed.merge(listed, on="stem", how="left", validate="1:1"))
    check(samples, rejects, len(listed), params)
    columns = ["stem", "species", "breed", "split"]
    samples[columns].to_csv(PREPARED / "classifier/samples.csv", index=False)
    samples[samples["has_mask"]][columns].to_csv(PREPARED / "segmenter/samples.csv", index=False)
    write_metrics("preprocess", summarize(samples, rejects))


if __name__ == "__main__":
    run(preprocess)
