"""Two archives, and what must come of preprocess whatever is in them."""

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from pipeline.errors import InputError
from pipeline.paths import METRICS, PREPARED, RAW
from pipeline.preprocess import preprocess
from pipeline.tasks import TASKS
from tests.helpers.petsbuilder import IDS, picture, trimap, write_dataset
from tests.hostile.files import entry, tar

TRAINVAL = [f"{breed}_{number}" for breed in IDS for number in (1, 2, 3)]
TEST = [f"{breed}_{number}" for breed in IDS for number in (101, 102)]
OUTSIDE = Path("/escaped_1.jpg")


def listing(stems: Iterable[str]) -> bytes:
    return "".join(f"{stem} {IDS[stem.rsplit('_', 1)[0]]}\n" for stem in stems).encode()


ANNOTATIONS = {"annotations/trainval.txt": listing(TRAINVAL), "annotations/test.txt": listing(TEST)}
ANNOTATIONS |= {f"annotations/trimaps/{stem}.png": trimap([[1, 2, 3, 1]] * 3) for stem in TRAINVAL + TEST}
IMAGES = {f"images/{stem}.jpg": picture(stem) for stem in TRAINVAL + TEST}
FILES = ANNOTATIONS | IMAGES


@dataclass(frozen=True)
class Case:
    """The two archives' bytes, each a tar or a gzipped one."""

    annotations: bytes = field(repr=False)
    images: bytes = field(repr=False)

    def write(self, folder: Path) -> None:
        (folder / "annotations.tar.gz").write_bytes(self.annotations)
        (folder / "images.tar.gz").write_bytes(self.images)


def case(files: dict[str, bytes | None], annotations: Iterable[bytes] = (), images: Iterable[bytes] = ()) -> Case:
    """The good archives with some files replaced, added, or left out where None, and raw tar members at their end."""
    contents = {name: data for name, data in (FILES | files).items() if data is not None}
    in_images = {name: entry(name, data) for name, data in contents.items() if name.startswith("images/")}
    in_annotations = [entry(name, data) for name, data in contents.items() if name not in in_images]
    return Case(tar([*in_annotations, *annotations]), tar([*in_images.values(), *images]))


def ends_well(case: Case) -> str:
    """Run preprocess on the two archives: "result", or "refused" with one printable line.

    Raises whatever else preprocess raises, and AssertionError where the line or the outputs are not in order, or a file
    is where no output belongs.
    """
    with TemporaryDirectory() as above, contextlib.chdir(above):
        work = Path("one/two")
        work.mkdir(parents=True)
        with contextlib.chdir(work):
            write_dataset(TRAINVAL, TEST, validation_fraction=0.34, max_reject_fraction=1.0)
            case.write(RAW)
        before = _files()
        with contextlib.chdir(work):
            ending = _ending()
        places = (work / PREPARED, work / METRICS)
        strays = [path for path in _files() - before if not any(path.is_relative_to(place) for place in places)]
        assert not strays, strays
        assert not OUTSIDE.exists()
    return ending


def _files() -> set[Path]:
    return {path for path in Path().rglob("*") if not path.is_dir()}


def _ending() -> str:
    refusal, printed = None, io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            for task in TASKS:
                preprocess(task)
    except InputError as error:
        refusal = str(error)
    assert printed.getvalue().isascii()  # whatever the locale, it can be printed
    if refusal is None:
        _check_outputs()
        return "result"
    assert refusal.isprintable(), refusal
    assert len(refusal) < 2000, refusal
    return "refused"


def _check_outputs() -> None:
    for model, arrays in {"classifier": ["images"], "segmenter": ["images", "masks"]}.items():
        rows = len(pd.read_csv(PREPARED / model / "samples.csv"))
        assert all(len(np.load(PREPARED / model / f"{array}.npy", mmap_mode="r")) == rows for array in arrays)
        assert all(reason.isprintable() for reason in pd.read_csv(PREPARED / f"rejects_{model}.csv")["reason"])
    assert np.load(PREPARED / "segmenter/masks.npy").max() <= 2
