"""Stage plot: training and validation curves of both models.

    python -m pipeline.plot

Reads   data/history/segmenter.csv, data/history/classifier.csv
Writes  data/plots/curves/TASK.png   loss and accuracy; the best epoch and the overfitted ones are marked
        data/metrics/training.json   the same as numbers
"""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline.inputs import unchanged
from pipeline.outputs import replacing, write_metrics
from pipeline.params import load_params
from pipeline.paths import HISTORY, PLOTS
from pipeline.stage import run
from pipeline.tasks import TASKS


def summarize(history: pd.DataFrame, overfit_after: int) -> dict[str, float | int | None]:
    """Return the best epoch by validation loss, and the epoch from which the model overfits, or None.

    A model overfits from the epoch after the best one if two things hold: at least `overfit_after` epochs followed
    without a better validation loss, and the training loss of the last epoch is lower than that of the best one.

    history: a row per epoch, with the columns epoch, loss, accuracy, val_loss and val_accuracy.
    """
    best = history.loc[history["val_loss"].idxmin()]
    last = history.iloc[-1]
    overfits = last["epoch"] - best["epoch"] >= overfit_after and last["loss"] < best["loss"]
    return {
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best_val_loss": float(best["val_loss"]),
        "best_val_accuracy": float(best["val_accuracy"]),
        "overfits_from_epoch": int(best["epoch"]) + 1 if overfits else None,
    }


def draw_curves(history: pd.DataFrame, summary: dict[str, Any], title: str, path: Path) -> None:
    """Draw loss and accuracy over epochs, of training and of validation, as PNG. summary: of summarize."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    onset = summary["overfits_from_epoch"]
    verdict = f"overfits from epoch {onset}" if onset else "no overfitting yet"
    figure.suptitle(f"{title}: best epoch {summary['best_epoch']} of {summary['epochs']}, {verdict}")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(history["epoch"], history[name], "o-", markersize=3, label="training")
        axes.plot(history["epoch"], history[f"val_{name}"], "o-", markersize=3, label="validation")
        axes.axvline(summary["best_epoch"], color="grey", linestyle="--", label="best validation loss")
        if onset:
            axes.axvspan(onset - 0.5, summary["epochs"] + 0.5, color="red", alpha=0.08, label="overfitting")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    figure.savefig(path, dpi=100)


def plot() -> None:
    """Draw the curves of all tasks and write data/metrics/training.json.

    Raises InputError for wrong parameters, a full disk, or inputs that are edited meanwhile.
    """
    with unchanged("plot"), replacing(PLOTS / "curves") as draft:
        draft.mkdir()
        overfit_after, summaries = load_params().plot.overfit_after, {}
        for task in TASKS:
            history = pd.read_csv(HISTORY / f"{task}.csv")
            summaries[task] = summarize(history, overfit_after)
            draw_curves(history, summaries[task], task, draft / f"{task}.png")
        write_metrics("training", summaries)


if __name__ == "__main__":
    run(plot)
