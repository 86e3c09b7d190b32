"""How fast pictures are predicted: by evaluate and by the program predict, against Keras' `predict` on a ready array.

    python -m benchmarks.predicting [--rounds 5]       five minutes on 2 cores

Needs data/raw and `dvc repro preprocess_segmenter preprocess_classifier` of real pets. The models have random weights.
Evaluate's pictures come from the packed arrays. Those of the program are JPEGs of the published size, for both models;
its other side is the sum of both models' `predict`.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from benchmarks.measure import in_process, ratios, side_by_side, spread, table
from benchmarks.preparing import published
from pipeline.answers.classifier import dog_probabilities
from pipeline.answers.segmenter import predict_masks
from pipeline.data.dataset import Dataset, load_dataset
from pipeline.evaluation.scoring import BATCH, in_batches
from pipeline.params import load_params
from pipeline.predict import answer
from pipeline.tasks import TASKS
from pipeline.training.setup import build_model

PICTURES = {"segmenter": 192, "classifier": 960}  # some seconds
PREDICT = {"segmenter": predict_masks, "classifier": dog_probabilities}


def speed(pictures: int, work: Callable[[], None]) -> float:
    """Pictures per second."""
    started = time.perf_counter()
    work()
    return pictures / (time.perf_counter() - started)


def model_of(task: str, data: Dataset) -> keras.Model:
    return build_model(task, getattr(load_params(), f"train_{task}").architecture, data)


def compare(what: str, pictures: int, here: Callable[[], None], keras_alone: Callable[[], None], rounds: int) -> dict:
    """The row of the table."""
    for work in (here, keras_alone):  # to trace
        work()
    ways = {"here": partial(speed, pictures, here), "predict": partial(speed, pictures, keras_alone)}
    speeds = side_by_side(ways, rounds)
    return {
        "what": f"{what}, pictures/s",
        "here": spread(speeds["here"]),
        "there": f"`model.predict`: {spread(speeds['predict'])}",
        "ratio": spread(ratios(speeds["here"], speeds["predict"])),
        "goal": "0.9",
    }


def evaluation(task: str, rounds: int) -> dict[str, str]:
    data, count = load_dataset(task), PICTURES[task]
    model, rows = model_of(task, data), data.rows("test")[:count]
    array = data.images[rows]
    return compare(
        f"{task}, evaluate",
        count,
        lambda: in_batches(lambda part: PREDICT[task](model, data.images[part]), rows),
        lambda: model.predict(array, BATCH, verbose=0),
        rounds,
    )


def program(rounds: int) -> dict[str, str]:
    data, count = {task: load_dataset(task) for task in TASKS}, PICTURES["segmenter"]
    models = {task: model_of(task, data[task]) for task in TASKS}
    arrays = [data[task].images[data[task].rows("test")[:count]] for task in TASKS]
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{k}.jpg") for k in range(count)]
        for path, content in zip(paths, published(), strict=False):
            path.write_bytes(content)
        return compare(
            "the program predict, both models, JPEGs of about 500 x 375",
            count,
            lambda: [answer(path, None, models) for path in paths],
            lambda: [
                model.predict(array, BATCH, verbose=0) for model, array in zip(models.values(), arrays, strict=True)
            ],
            rounds,
        )


def measure(rounds: int = 5) -> list[dict[str, str]]:
    return [*(in_process(evaluation, task, rounds) for task in TASKS), in_process(program, rounds)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting")
    parser.add_argument("--rounds", type=int, default=5)
    print(table(measure(parser.parse_args().rounds)))
