"""Outputs are written beside the old ones and replace them, whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from pipeline.outputs import read_metrics, replacing, write_metrics


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_is_replaced_and_what_it_was_linked_to_stays() -> None:
    Path("cached").write_text("of another run")
    os.link("cached", "history.csv")  # DVC's cache.type hardlink
    with replacing(Path("history.csv")) as draft:
        draft.write_text("new")
    assert (Path("history.csv").read_text(), Path("cached").read_text()) == ("new", "of another run")


def test_a_folder_is_replaced_as_a_whole_though_a_kill_left_a_draft() -> None:
    Path("plots").mkdir()
    Path("plots/old.png").touch()
    Path(".draft-plots").mkdir()
    Path(".draft-plots/half.png").touch()
    with replacing(Path("plots")) as draft:
        draft.mkdir()
        (draft / "new.png").touch()
    assert [path.name for path in Path().rglob("*.png")] == ["new.png"]


def interrupted(draft: Path) -> None:
    draft.mkdir()
    (draft / "half.png").touch()
    raise KeyboardInterrupt


def test_an_output_that_was_not_finished_leaves_the_old_one_and_no_draft() -> None:
    Path("plots").mkdir()
    with pytest.raises(KeyboardInterrupt), replacing(Path("plots")) as draft:
        interrupted(draft)
    assert [path.name for path in Path().rglob("*")] == ["plots"]


def test_metrics_are_json_with_all_digits_of_which_dvc_shows_the_columns() -> None:
    values = {"mean_iou": 0.1 + 0.2, "mean_iou_low": 0.25, "overfits_from_epoch": None}
    write_metrics("segmenter", values, ["mean_iou"])
    text = Path("data/metrics/segmenter.json").read_text()
    details = [{"mean_iou_low": 0.25, "overfits_from_epoch": None}]
    assert json.loads(text) == {"mean_iou": 0.30000000000000004, "details": details}
    assert read_metrics(text) == values
    assert text.endswith("}\n")
