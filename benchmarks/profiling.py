"""Where a training step's time goes: seconds of each kind of TensorFlow op, the chapter's way and this project's.

    python -m benchmarks.profiling       four minutes on 2 cores

Both models at the chapter's sizes and batches, on one random batch, so without any input. TensorFlow's profiler stands
by for three steps. Ops run side by side, so that their sum is more than the step. Source of the format: xplane.proto of
TensorFlow.
"""

import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import pandas as pd
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import chapter
from benchmarks.determinism import random_pictures
from benchmarks.measure import in_process, machine
from pipeline.params import load_params
from pipeline.tasks import TASKS
from pipeline.training.setup import new_models

STEPS, SHOWN = 3, 12


def model_of(task: str, way: str) -> tuple[keras.Model, tf.data.Dataset]:
    """Compiled, and one batch, again and again."""
    params = load_params()
    training, size = getattr(params, f"train_{task}"), getattr(params.preprocess, f"{task}_size")
    data, part = random_pictures(task, size), slice(training.batch_size)
    model = chapter.compiled(task, training, size) if way == "chapter" else new_models(task, training, data)[1]
    return model, tf.data.Dataset.from_tensors((data.images[part], data.targets[part])).repeat()


def op_times(folder: Path) -> Counter[str]:
    """Milliseconds per step of each kind of op, from the profiler's file: the ops' events are named NAME:KIND."""
    (path,) = folder.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    found: Counter[str] = Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
            if "/" in name or kind.startswith("_Mkl"):
                found[kind.removeprefix("_MklNative")] += event.duration_ps / 1e9 / STEPS
    return found


def profile(task: str, way: str) -> tuple[float, Counter[str]]:
    """Milliseconds of a step, and of the kinds of op in it."""
    model, batches = model_of(task, way)
    model.fit(batches, steps_per_epoch=2, verbose=0)  # to trace
    with TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        started = time.perf_counter()
        model.fit(batches, steps_per_epoch=STEPS, verbose=0)
        step = 1000 * (time.perf_counter() - started) / STEPS
        tf.profiler.experimental.stop()
        return step, op_times(Path(folder))


def main() -> None:
    print(machine())
    for task in TASKS:
        found = {way: in_process(profile, task, way) for way in ("chapter", "pipeline")}
        kinds = {way: times for way, (_, times) in found.items()}
        columns = {f"{way}: a step of {step:.0f} ms": kinds[way] for way, (step, _) in found.items()}
        table = pd.DataFrame(columns).fillna(0).round(0).astype(int)
        largest = table.max(axis=1).nlargest(SHOWN).index
        print(f"\n{task}: ms a step\n\n{table.loc[largest].to_markdown()}", flush=True)


if __name__ == "__main__":
    main()
