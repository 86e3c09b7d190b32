"""The best epoch, the onset of overfitting, and the curves, from hand-made histories."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.plot import plot, summarize
from tests.helpers.project import write_params


def history(val_loss: list[float], loss: list[float] | None = None) -> pd.DataFrame:
    """A history of these validation losses. The training loss falls all the way if none is given."""
    epochs = np.arange(1, len(val_loss) + 1)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "loss": 1 / epochs if loss is None else loss,
            "accuracy": 0.5 + 0.01 * epochs,
            "val_loss": val_loss,
            "val_accuracy": 0.4 + 0.01 * epochs,
        }
    )


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss():
    assert summarize(history([0.9, 0.5, 0.7, 0.8]), overfit_after=3) == {
        "epochs": 4,
        "best_epoch": 2,
        "best_val_loss": 0.5,
        "best_val_accuracy": pytest.approx(0.42),
        "overfits_from_epoch": None,
    }


def test_of_equal_epochs_the_first_is_the_best():
    assert summarize(history([0.9, 0.5, 0.7, 0.5]), overfit_after=3)["best_epoch"] == 2


def test_overfitting_starts_after_the_best_epoch():
    assert summarize(history([0.9, 0.5, 0.6, 0.7, 0.8]), overfit_after=3)["overfits_from_epoch"] == 3


def test_a_tie_is_no_better_validation_loss():
    assert summarize(history([0.9, 0.5, 0.5, 0.5, 0.5]), overfit_after=3)["overfits_from_epoch"] == 3


@pytest.mark.parametrize(("overfit_after", "onset"), [(2, 3), (3, 3), (4, None)])
def test_overfitting_is_named_only_after_so_many_epochs_without_a_better_one(overfit_after, onset):
    assert summarize(history([0.9, 0.5, 0.6, 0.7, 0.8]), overfit_after)["overfits_from_epoch"] == onset


def test_a_model_that_still_improves_does_not_overfit():
    summary = summarize(history([0.9, 0.8, 0.85, 0.86, 0.87, 0.7]), overfit_after=3)
    assert (summary["best_epoch"], summary["overfits_from_epoch"]) == (6, None)


@pytest.mark.parametrize("loss", [[0.9, 0.5, 0.5, 0.5, 0.5], [0.9, 0.5, 0.6, 0.7, 0.8]], ids=["level", "rising"])
def test_a_training_loss_that_does_not_fall_is_no_overfitting(loss):
    assert summarize(history([0.9, 0.5, 0.6, 0.7, 0.8], loss), overfit_after=3)["overfits_from_epoch"] is None


def test_a_history_of_one_epoch_is_its_own_best():
    summary = summarize(history([0.9]), overfit_after=1)
    assert (summary["epochs"], summary["best_epoch"], summary["overfits_from_epoch"]) == (1, 1, None)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The committed parameters; the segmenter overfits from epoch 3, the classifier trained for one epoch."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    Path("data/history").mkdir(parents=True)
    history([0.9, 0.5, *np.linspace(0.6, 0.9, 8)]).to_csv("data/history/segmenter.csv", index=False)
    history([0.7]).to_csv("data/history/classifier.csv", index=False)


def test_plot_writes_the_summary_of_both_models(workspace):
    plot()
    written = json.loads(Path("data/metrics/training.json").read_text())
    assert {name: summary["best_epoch"] for name, summary in written.items()} == {"segmenter": 2, "classifier": 1}
    assert written["segmenter"]["overfits_from_epoch"] == 3
    assert written["classifier"]["overfits_from_epoch"] is None


def share_of_reddish_pixels(path: Path) -> float:
    """Of the pale red that shades the overfitted epochs."""
    red, green, blue = np.moveaxis(np.asarray(Image.open(path).convert("RGB"), int), -1, 0)
    return np.mean((red == 255) & (green == blue) & (green > 200) & (green < 250))


def test_plot_draws_curves_and_shades_the_overfitted_epochs_only(workspace):
    plot()
    for task in ("segmenter", "classifier"):
        with Image.open(f"data/plots/curves/{task}.png") as picture:
            assert (picture.format, picture.size) == ("PNG", (1000, 400))
    assert share_of_reddish_pixels(Path("data/plots/curves/segmenter.png")) > 0.2
    assert share_of_reddish_pixels(Path("data/plots/curves/classifier.png")) == 0


def test_plot_writes_the_same_bytes_again(workspace):
    def outputs() -> dict[Path, bytes]:
        files = [*Path("data/plots/curves").iterdir(), Path("data/metrics/training.json")]
        return {path: path.read_bytes() for path in files}

    plot()
    first = outputs()
    plot()
    assert outputs() == first
    assert len(first) == 3
