"""`python -m pipeline.predict`: hand-made models that read their answer off the picture; agreement with evaluation."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data.archives import read_pictures
from pipeline.data.pictures import square
from pipeline.evaluation.figures import COLOURS
from pipeline.predict import main
from pipeline.tasks import TASKS
from tests.helpers.colourmodels import RED, write_classifier, write_segmenter

FOREGROUND, BACKGROUND, CONTOUR = ((red, 60, 90) for red in RED)


def save_striped(path: str, *colours: tuple[int, int, int]) -> None:
    """A picture of 4 rows, with a vertical stripe of three pixels for each colour."""
    row = np.repeat(np.array(colours, np.uint8), 3, axis=0)
    Image.fromarray(np.repeat(row[None], 4, axis=0)).save(path, quality=100)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_segmenter(folder / "segmenter.keras")
    write_classifier(folder / "classifier.keras")
    return folder


@pytest.fixture
def run(models: Path, tmp_path: Path, monkeypatch, capsys) -> Callable[..., tuple[int | str, list[str], list[str]]]:
    """Predict with these arguments: exit status or the line that ends the program; the lines of stdout, of stderr.

    The working directory has two checkpoints, and pet.png, foreground at the left and contour at the right.
    """
    shutil.copytree(models, tmp_path / "data/models")
    monkeypatch.chdir(tmp_path)
    save_striped("pet.png", FOREGROUND, CONTOUR)

    def predict(*arguments: str) -> tuple[int | str, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["predict", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out.splitlines(), err.splitlines()

    return predict


def test_each_picture_gets_a_line_and_nothing_is_written(run) -> None:
    save_striped("other.jpg", CONTOUR, BACKGROUND)
    shutil.copy("pet.png", os.fsdecode(b"\xff.png"))  # a name that is no text
    before = sorted(Path().rglob("*"))
    status, out, err = run("pet.png", "other.jpg", os.fsdecode(b"\xff.png"))
    assert (status, err) == (0, [])
    assert out[0] == "pet.png: cat 0.609; foreground 50.0 %, background 0.0 %, contour 50.0 %"  # 1 - 100 / 256
    assert re.fullmatch(r"other.jpg: dog 0\.5[789]\d; foreground 0.0 %, background 50.0 %, contour 50.0 %", out[1])
    assert len(out) == 3
    assert sorted(Path().rglob("*")) == before


def test_an_overlay_is_the_picture_with_foreground_and_contour_tinted(run) -> None:
    save_striped("half.png", BACKGROUND, CONTOUR)
    assert run("pet.png", "half.png", "--out", "new/folder")[1][1].endswith("; new/folder/half-overlay.png")
    tinted = {colour: (np.add(colour, COLOURS[k]) // 2).tolist() for k, colour in ((0, FOREGROUND), (2, CONTOUR))}
    for name, left in (("pet", tinted[FOREGROUND]), ("half", list(BACKGROUND))):
        with Image.open(f"new/folder/{name}-overlay.png") as overlay:
            np.testing.assert_array_equal(overlay, [[left] * 3 + [tinted[CONTOUR]] * 3] * 4)


@pytest.mark.parametrize("other", ["pet-overlay.png", "folder/pet.jpg", "PET.gif"])
def test_no_overlay_takes_the_place_of_a_picture_or_of_another(run, other: str) -> None:
    Path("folder").mkdir()
    save_striped(other, FOREGROUND)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    status, out, err = run("pet.png", other, "--out", ".")
    assert re.fullmatch(r"predict: (pet|PET)-overlay.png: another picture, or the overlay of one; use one .*", status)
    assert (out, err) == ([], [])
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_what_is_no_picture_is_named_and_the_others_are_predicted(run) -> None:
    Path("notes.jpg").write_text("a cat")
    Path("cut.png").write_bytes(Path("pet.png").read_bytes()[:-30])
    with Path("huge.jpg").open("wb") as file:
        file.truncate(10**12)
    status, out, err = run("notes.jpg", "missing.jpg", "cut.png", "data", "huge.jpg", "pet.png", "--out", "overlays")
    assert (status, len(out), [path.name for path in Path("overlays").iterdir()]) == (1, 1, ["pet-overlay.png"])
    formats = "allowed: JPEG, PNG, GIF, BMP"
    assert re.fullmatch(rf"predict: cut.png: not a readable picture: .*truncated.*; {formats}", err.pop(2))
    assert err == [
        f"predict: notes.jpg: not a readable picture: cannot identify image file; {formats}",
        "predict: missing.jpg: No such file or directory",
        "predict: data: Is a directory",
        "predict: huge.jpg: not a readable picture: more than 16,777,216 bytes; allowed: JPEG, PNG, GIF, BMP",
    ]


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_without_a_checkpoint_one_line_says_so(run, task: str) -> None:
    path = Path(f"data/models/{task}.keras")
    path.unlink()
    line = f"predict: {path}: no such file; `dvc repro` makes it, `dvc pull` fetches it"
    assert run("pet.png", "--out", "overlays") == (line, [], [])
    path.touch()
    assert run("pet.png", "--out", "overlays")[0].startswith(f"predict: {path}: not a Keras checkpoint: ")
    assert not Path("overlays").exists()


def test_a_folder_for_overlays_that_is_a_file_ends_in_one_line(run) -> None:
    assert run("pet.png", "--out", "pet.png")[0] == "predict: File exists: pet.png"


@pytest.mark.parametrize("task", TASKS)
def test_a_model_gets_of_a_picture_what_it_gets_in_evaluation(repository: Path, task: str) -> None:
    prepared = repository / "data/prepared" / task
    samples, images = pd.read_csv(prepared / "samples.csv"), np.load(prepared / "images.npy")
    rows = np.flatnonzero(samples["split"] == "test")
    pictures = dict(read_pictures(repository / "data/raw/images.tar.gz", samples["stem"][rows]))
    for row in rows:
        np.testing.assert_array_equal(square(pictures[samples["stem"][row]], 16), images[row])
