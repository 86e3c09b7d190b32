"""Whether preprocess and training take a million pictures: their seconds, and their memory at its worst.

    python -m benchmarks.million       four minutes and 3 GB of disk on 2 cores

The pictures are of 4 x 4 pixels, prepared as 16 x 16 for the residual convnet, so that what is left are the costs of a
picture beside decoding. Training is an epoch of reading, with some steps (memory.py).
"""

import contextlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from PIL import Image

from benchmarks.measure import machine
from benchmarks.memory import WORK, peak_of
from pipeline.paths import RAW
from tests.helpers.petsbuilder import write_tar

PICTURES = 1_000_000
BREEDS = 37


def drawn_pictures(stems: list[str]) -> Iterator[tuple[str, bytes]]:
    """A BMP for each, whose last bytes make it another."""
    drawn = io.BytesIO()
    Image.new("RGB", (4, 4)).save(drawn, "BMP")
    for k, stem in enumerate(stems):
        yield f"images/{stem}.jpg", drawn.getvalue()[:-8] + k.to_bytes(8)


def write_archives() -> None:
    """Half of the pictures are cats, half are test pictures."""
    RAW.mkdir(parents=True)
    stems = [f"breed_{k % BREEDS}_{k}" for k in range(PICTURES)]
    lists = {"trainval": [], "test": []}
    for k, stem in enumerate(stems):
        lists["test" if k // BREEDS % 2 else "trainval"].append(f"{stem} 1 {1 + k % BREEDS % 2} 1\n")
    write_tar(RAW / "images.tar.gz", drawn_pictures(stems), "w")
    texts = ((f"annotations/{name}.txt", "".join(lines).encode()) for name, lines in lists.items())
    write_tar(RAW / "annotations.tar.gz", texts, "w")


def main() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["preprocess"]["classifier_size"] = 16
    params["train_classifier"]["architecture"] = "residual"
    pipeline = Path("dvc.yaml").read_text()
    print(machine())
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("params.yaml").write_text(yaml.safe_dump(params))
        Path("dvc.yaml").write_text(pipeline)
        write_archives()
        for stage, work in WORK.items():
            started = time.perf_counter()
            peak = peak_of(work.format("classifier"))
            print(f"{stage}: {time.perf_counter() - started:.0f} s, {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
