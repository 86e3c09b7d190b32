"""Stage plot: training and validation curves of both models.

    python -m pipeline.plot

Reads   data/history/segmenter.csv, data/history/classifier.csv
Writes  data/plots/curves/TASK.png   the best epoch marked, the onset of overfitting named
        data/metrics/training.json   the same as figures
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline.errors import writing
from pipeline.outputs import write_metrics
from pipeline.params import load_params
from pipeline.paths import HISTORY, PLOTS
from pipeline.stage import run
from pipeline.tasks import TASKS


def summarize(history: pd.DataFrame, patience: int) -> dict[str, float | int | None]:
    """The best epoch by validation loss, and the epoch from which the model overfits.

    It overfits from the epoch after the best one where at least `patience` epochs followed without a better validation
    loss and the training loss is lower at the end than it was at the best one; otherwise the onset is None.
    """
    best = history.loc[history["val_loss"].idxmin()]
    last = history.iloc[-1]
    overfits = last["epoch"] - best["epoch"] >= patience and last["loss"] < best["loss"]
    return {
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "best_val_loss": float(best["val_loss"]),
        "best_val_accuracy": float(best["val_accuracy"]),
        "overfits_from_epoch": int(best["epoch"]) + 1 if overfits else None,
    }


def draw_curves(history: pd.DataFrame, summary: dict, title: str, path: Path) -> None:
    """Loss and accuracy over epochs, training against validation, as PNG."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


@writing(PLOTS)
def plot() -> None:
    """Draw the curves of both tasks and write data/metrics/training.json."""
    patience = load_params().plot.patience
    summaries = {}
    for task in TASKS:
        history = pd.read_csv(HISTORY / f"{task}.csv")
        summaries[task] = summarize(history, patience)
        draw_curves(history, summaries[task], task, PLOTS / "curves" / f"{task}.png")
    write_metrics("training", summaries)


if __name__ == "__main__":
    run(plot)
