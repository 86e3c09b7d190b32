"""How fast pictures are predicted: by evaluate and by the program predict, against Keras' `predict` on a ready array.

    python -m benchmarks.predicting [--rounds 5]       five minutes on 2 cores

Needs data/raw and `dvc repro preprocess_segmenter preprocess_classifier` of real pets. The models have the weights that
their seeds decide. Evaluate's pictures come from the packed arrays, those of the program from files in memory, of the
size that the archive has them in.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import islice

from benchmarks.measure import in_process, ratios, side_by_side, spread, table
from pipeline.archives import read_lists, read_pictures
from pipeline.dataset import load_dataset
from pipeline.evaluate import BATCH, in_batches
from pipeline.models import ARCHITECTURES
from pipeline.params import load_params
from pipeline.predict import classify, dog_probabilities, predict_masks, segment
from pipeline.stage import RAW, TASKS

PICTURES = {"segmenter": 192, "classifier": 960}  # some seconds
PREDICT = {"segmenter": predict_masks, "classifier": dog_probabilities}
ANSWER = {"segmenter": segment, "classifier": classify}


def speed(pictures: int, work: Callable[[], None]) -> float:
    """Pictures per second."""
    started = time.perf_counter()
    work()
    return pictures / (time.perf_counter() - started)


def answer_each(task: str, model, files: list[bytes]) -> None:
    for file in files:
        ANSWER[task](model, file)


def compare(task: str, rounds: int) -> list[dict[str, str]]:
    """A row for evaluate, a row for the program."""
    data, count = load_dataset(task), PICTURES[task]
    model = ARCHITECTURES[getattr(load_params(), f"train_{task}").architecture](data.image_size)
    rows = data.rows("test")[:count]
    array = data.images[rows]
    stems = read_lists(RAW / "annotations.tar.gz")["stem"]
    files = [content for _, content in islice(read_pictures(RAW / "images.tar.gz", stems), count)]
    ways = {
        "predict": lambda: model.predict(array, BATCH, verbose=0),
        "evaluate": lambda: in_batches(lambda part: PREDICT[task](model, data.images[part]), rows),
        "program": partial(answer_each, task, model, files),
    }
    for work in ways.values():  # to trace
        work()
    speeds = side_by_side({name: partial(speed, count, work) for name, work in ways.items()}, rounds)
    return [
        {
            "what": f"{task}, {name}, pictures/s",
            "here": spread(speeds[name]),
            "there": f"`model.predict`: {spread(speeds['predict'])}",
            "ratio": spread(ratios(speeds[name], speeds["predict"])),
            "goal": "0.9",
        }
        for name in ("evaluate", "program")
    ]


def measure(rounds: int = 5) -> list[dict[str, str]]:
    return [row for task in TASKS for row in in_process(compare, task, rounds)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting")
    parser.add_argument("--rounds", type=int, default=5)
    print(table(measure(parser.parse_args().rounds)))
