"""How fast pictures are prepared: against decoding and resizing alone, and against the chapter's loading loop.

    python -m benchmarks.preparing [--rounds 5]       three minutes on 2 cores

Needs data/raw of the published pictures. Of them those count that have the published size (about 500 x 375), each many
times under other names, so that a measurement takes seconds. Decoding and resizing alone is from memory, on all cores,
in each library that antialiases; the chapter's loop reads unpacked files.
"""

import argparse
import io
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import simplejpeg
from joblib import cpu_count
from PIL import Image

from benchmarks import chapter
from benchmarks.measure import in_process, ratios, side_by_side, spread, table
from pipeline.data.archives import read_lists, read_pictures
from pipeline.data.pictures import size_of
from pipeline.params import load_params
from pipeline.paths import PREPARED, RAW
from pipeline.preprocess import preprocess
from tests.helpers.petsbuilder import write_tar

PICTURES = 3000
REDUCED = (224, 224)  # what the mirror's other pictures were reduced to, the aspect ratio not kept
SIZE = load_params().preprocess.classifier_size


def published() -> list[bytes]:
    """The JPEG files of the published size."""
    stems = read_lists(RAW / "annotations.tar.gz")["stem"]
    pictures = [data for _, data in read_pictures(RAW / "images.tar.gz", stems)]
    return [data for data in pictures if data.startswith(b"\xff\xd8") and size_of(data) != REDUCED]


def write_project(pictures: list[bytes], folder: Path) -> None:
    """Two archives of the pictures, half of them cats, half test pictures; params.yaml; and the pictures unpacked."""
    lists = {"trainval": [], "test": []}
    (folder / RAW).mkdir(parents=True)
    (folder / "images").mkdir()
    for k, data in enumerate(pictures):
        lists["trainval" if k % 4 < 2 else "test"].append(f"breed_{k} 1 {1 + k % 2} 1\n")
        (folder / f"images/breed_{k}.jpg").write_bytes(data)
    write_tar(folder / RAW / "images.tar.gz", ((f"images/breed_{k}.jpg", data) for k, data in enumerate(pictures)))
    texts = ((f"annotations/{name}.txt", "".join(lines).encode()) for name, lines in lists.items())
    write_tar(folder / RAW / "annotations.tar.gz", texts)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(name, folder)


def by_pillow(data: bytes, half_is_enough: bool) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    if half_is_enough:
        picture.draft("RGB", (SIZE, SIZE))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def by_opencv(data: bytes, half_is_enough: bool) -> np.ndarray:
    """In the other order of colours, whose change would take more time."""
    scale = cv2.IMREAD_REDUCED_COLOR_2 if half_is_enough else cv2.IMREAD_COLOR
    flags = scale | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.resize(cv2.imdecode(np.frombuffer(data, np.uint8), flags), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def by_simplejpeg(data: bytes, half_is_enough: bool) -> np.ndarray:
    """As the stage does it: five eighths may be enough, too."""
    pixels = simplejpeg.decode_jpeg(data, min_height=SIZE, min_width=SIZE, strict=False)
    return cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def alone(way: Callable[[bytes, bool], np.ndarray], folder: Path) -> float:
    """Pictures per second on all cores."""
    pictures = [(folder / f"images/breed_{k}.jpg").read_bytes() for k in range(PICTURES)]
    half_is_enough = [min(size_of(data)) >= 2 * SIZE for data in pictures]
    started = time.perf_counter()
    with ThreadPoolExecutor(cpu_count()) as pool:
        for _ in pool.map(way, pictures, half_is_enough):
            pass
    return PICTURES / (time.perf_counter() - started)


def by_stage(folder: Path) -> float:
    """Pictures per second of the whole stage, but for its start."""
    os.chdir(folder)
    shutil.rmtree(PREPARED, ignore_errors=True)  # as DVC does before it runs a stage
    started = time.perf_counter()
    preprocess("classifier")
    return PICTURES / (time.perf_counter() - started)


def by_chapter(folder: Path) -> float:
    started = time.perf_counter()
    chapter.load_pictures(folder, [f"breed_{k}" for k in range(PICTURES)], SIZE)
    return PICTURES / (time.perf_counter() - started)


def measure(rounds: int = 5) -> list[dict[str, str]]:
    found = published()
    # Some bytes behind each make them differ: copies would be kept out of training, with a line for each.
    pictures = [found[k % len(found)] + k.to_bytes(4) for k in range(PICTURES)]
    ways = {
        "Pillow alone": partial(alone, by_pillow),
        "OpenCV alone": partial(alone, by_opencv),
        "simplejpeg and OpenCV alone": partial(alone, by_simplejpeg),
        "the chapter's loop": by_chapter,
    }
    with TemporaryDirectory() as folder:
        write_project(pictures, Path(folder))
        in_process(by_stage, Path(folder))  # a warm-up: the next rounds find the archive in memory
        calls = {name: partial(in_process, way, Path(folder)) for name, way in {"stage": by_stage, **ways}.items()}
        speeds = side_by_side(calls, rounds)
    goals = dict.fromkeys(ways, "0.8") | {"the chapter's loop": "2.5"}
    return [
        {
            "what": f"preprocess, pictures/s, {len(found)} of the published size",
            "here": spread(speeds["stage"]),
            "there": f"{name}: {spread(speeds[name])}",
            "ratio": spread(ratios(speeds["stage"], speeds[name])),
            "goal": goals[name],
        }
        for name in goals
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparing")
    parser.add_argument("--rounds", type=int, default=5)
    print(table(measure(parser.parse_args().rounds)))
