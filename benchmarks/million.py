"""Whether preprocess and training take a million pictures: their seconds, and their memory at its worst.

    python -m benchmarks.million       four minutes and 3 GB of disk on 2 cores

The pictures are of 4 x 4 pixels, prepared as 16 x 16 for the residual convnet, so that what is left are the costs of a
picture beside decoding. Training is an epoch of reading, with some steps (memory.py).
"""

import contextlib
import io
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from PIL import Image

from benchmarks.measure import machine
from benchmarks.memory import WORK, add, peak_of
from pipeline.stage import RAW

PICTURES = 1_000_000
BREEDS = 37


def write_archives() -> None:
    """A BMP for each picture, whose last bytes make it another; half of them cats, half test pictures."""
    RAW.mkdir(parents=True)
    drawn, lists = io.BytesIO(), {"trainval": io.BytesIO(), "test": io.BytesIO()}
    Image.new("RGB", (4, 4)).save(drawn, "BMP")
    with tarfile.open(RAW / "images.tar.gz", "w") as archive:
        for k in range(PICTURES):
            stem = f"breed_{k % BREEDS}_{k}"
            add(archive, f"images/{stem}.jpg", drawn.getvalue()[:-8] + k.to_bytes(8))
            archive.members = []  # else it keeps the headers of all
            lists["test" if k // BREEDS % 2 else "trainval"].write(f"{stem} 1 {1 + k % BREEDS % 2} 1\n".encode())
    with tarfile.open(RAW / "annotations.tar.gz", "w") as archive:
        for name, lines in lists.items():
            add(archive, f"annotations/{name}.txt", lines.getvalue())


def main() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["preprocess"]["classifier_size"] = 16
    params["train_classifier"]["architecture"] = "residual"
    print(machine())
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("params.yaml").write_text(yaml.safe_dump(params))
        write_archives()
        for stage, work in WORK.items():
            started = time.perf_counter()
            peak = peak_of(work.format("classifier"))
            print(f"{stage}: {time.perf_counter() - started:.0f} s, {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
