"""The best epoch, the onset of overfitting, and the curves, from hand-made histories."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.outputs import read_metrics
from pipeline.plot import plot, summarize
from tests.helpers.project import write_params


def history(val_loss: list[float], loss: list[float] | None = None) -> pd.DataFrame:
    """A history of these validation losses. The training loss falls all the way if none is given."""
    epochs = np.arange(1, len(val_loss) + 1)
    columns = {"loss": 1 / epochs if loss is None else loss, "accuracy": 0.5 + 0.01 * epochs}
    return pd.DataFrame({"epoch": epochs, **columns, "val_loss": val_loss, "val_accuracy": 0.4 + 0.01 * epochs})


@pytest.mark.parametrize(
    ("val_loss", "overfit_after", "best", "onset"),
    [
        ([0.9, 0.5, 0.6, 0.7, 0.8], 3, 2, 3),
        ([0.9, 0.5, 0.6, 0.7, 0.8], 4, 2, None),  # only three epochs followed
        ([0.9, 0.5, 0.7, 0.5, 0.5], 3, 2, 3),  # a tie is no better one
        ([0.9, 0.8, 0.85, 0.86, 0.87, 0.7], 3, 6, None),  # still improves
        ([0.9], 1, 1, None),
    ],
)
def test_the_best_epoch_has_the_lowest_validation_loss_and_overfitting_starts_after_it_if_enough_follow(
    val_loss, overfit_after, best, onset
) -> None:
    summary = summarize(history(val_loss), overfit_after)
    assert (summary["best_epoch"], summary["overfits_from_epoch"]) == (best, onset)
    level = summarize(history(val_loss, loss=[0.5] * len(val_loss)), overfit_after)
    assert level["overfits_from_epoch"] is None, "the training loss does not fall"


def share_of_reddish_pixels(path: str) -> float:
    """Of the pale red that shades the overfitted epochs."""
    with Image.open(path) as picture:
        red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB"), int), -1, 0)
    return np.mean((red == 255) & (green == blue) & (green > 200) & (green < 250))


def test_plot_draws_curves_shades_the_overfitted_epochs_only_and_writes_the_same_bytes_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    Path("data/history").mkdir(parents=True)
    history([0.9, 0.5, *np.linspace(0.6, 0.9, 8)]).to_csv("data/history/segmenter.csv", index=False)
    history([0.7]).to_csv("data/history/classifier.csv", index=False)
    plot()
    written = read_metrics(Path("data/metrics/training.json").read_text())
    best = {"best_epoch": 2, "best_val_loss": 0.5, "best_val_accuracy": pytest.approx(0.42)}
    assert written["segmenter"] == {"epochs": 10} | best | {"overfits_from_epoch": 3}
    assert written["classifier"]["overfits_from_epoch"] is None
    assert share_of_reddish_pixels("data/plots/curves/segmenter.png") > 0.2
    assert share_of_reddish_pixels("data/plots/curves/classifier.png") == 0
    files = [*Path("data/plots/curves").iterdir(), Path("data/metrics/training.json")]
    first = [file.read_bytes() for file in files]
    plot()
    assert [file.read_bytes() for file in files] == first
