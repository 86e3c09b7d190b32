"""Whether the fast way learns what the plain one learns: both, from the same seeds, on the same prepared pictures.

    python -m benchmarks.quality classifier [--epochs 12] [--seeds 1 2 3]       plain: two minutes an epoch on 2 cores

Needs `dvc repro preprocess_TASK` on real pets. The plain way is Keras alone: the chapter's model, and `fit` on one
float32 array. Each training is a process of its own and ends in a row of benchmarks/results/quality_TASK.csv; a row
that is there stays.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pandas as pd

from benchmarks.chapter import compiled
from benchmarks.measure import RESULTS, in_process
from pipeline.answers.classifier import DOG_FROM, dog_probabilities
from pipeline.answers.segmenter import predict_masks
from pipeline.data.dataset import Dataset, load_dataset
from pipeline.evaluation import metrics
from pipeline.params import Train, load_params
from pipeline.tasks import TASKS
from pipeline.train import fit
from pipeline.training.setup import new_models
from pipeline.training.state import TrainingState


def train_fast(task: str, data: Dataset, params: Train, folder: Path) -> tuple[keras.Model, pd.DataFrame]:
    """The best checkpoint of the stage train, and its history."""
    (model, twin), state = new_models(task, params, data), TrainingState(folder / "state.npz", params.epochs)
    state.restore(twin)
    fit(twin, data, params, state)
    model.set_weights(state.best)
    return model, pd.DataFrame(state.history)


def train_plain(task: str, data: Dataset, params: Train, folder: Path) -> tuple[keras.Model, pd.DataFrame]:
    """The best checkpoint of Keras' own `fit`, and its history."""
    model, best = compiled(task, params, data.image_size), folder / "best.keras"
    pictures, targets = (
        {split: array[data.rows(split)] for split in ("train", "validation")} for array in (data.images, data.targets)
    )
    history = model.fit(
        pictures["train"].astype("float32"),
        targets["train"],
        batch_size=params.batch_size,
        epochs=params.epochs,
        validation_data=(pictures["validation"].astype("float32"), targets["validation"]),
        callbacks=[keras.callbacks.ModelCheckpoint(best, save_best_only=True)],
        verbose=2,
    )
    return keras.models.load_model(best), pd.DataFrame(history.history)


WAYS = {"fast": train_fast, "plain": train_plain}


def test_figure(task: str, model: keras.Model, data: Dataset) -> float:
    """Mean IoU or accuracy on the test split, in float32."""
    rows, matrices = data.rows("test"), []
    for part in np.array_split(rows, -(-len(rows) // 64)):
        truth, images = data.targets[part], data.images[part]
        if task == "segmenter":
            matrices.append(metrics.confusion_matrices(truth, predict_masks(model, images), 3).sum(0))
        else:
            predicted = (dog_probabilities(model, images) >= DOG_FROM).astype(np.uint8)
            matrices.append(metrics.confusion_matrices(truth[:, 0], predicted, 2).sum(0))
    return float((metrics.mean_iou if task == "segmenter" else metrics.accuracy)(np.sum(matrices, 0)))


def train_once(task: str, way: str, seed: int, epochs: int) -> dict:
    """What a row of the results holds: the best epoch, its losses, and the last one's."""
    params = getattr(load_params(), f"train_{task}").model_copy(update={"seed": seed, "epochs": epochs})
    data = load_dataset(task)
    with TemporaryDirectory() as folder:
        model, history = WAYS[way](task, data, params, Path(folder))
    best = history.loc[history["val_loss"].idxmin()]
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    return {
        "way": way,
        "seed": seed,
        "epochs": epochs,
        "batch_size": params.batch_size,
        "best_epoch": int(history["val_loss"].idxmin()) + 1,
        **{f"best_{name}": round(float(best[name]), 4) for name in names},
        **{f"last_{name}": round(float(history.iloc[-1][name]), 4) for name in names},
        "test": round(test_figure(task, model, data), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    path = RESULTS / f"quality_{arguments.task}.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    path.parent.mkdir(exist_ok=True)
    batch_size = getattr(load_params(), f"train_{arguments.task}").batch_size
    done = {(row["way"], row["seed"], row["epochs"], row["batch_size"]) for row in rows}
    for seed in arguments.seeds:
        for way in arguments.ways:
            if (way, seed, arguments.epochs, batch_size) in done:
                continue
            rows.append(in_process(train_once, arguments.task, way, seed, arguments.epochs))
            pd.DataFrame(rows).to_csv(path, index=False)
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
