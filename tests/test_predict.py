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
from tests.helpers.project import REPOSITORY, run_in

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
    odd = ["two\nlines \x1b[31mred.png", os.fsdecode(b"\xff.png")]  # the second is no text
    for name in odd:
        shutil.copy("pet.png", name)
    before = sorted(Path().rglob("*"))
    status, out, err = run("pet.png", "other.jpg", *odd)
    assert (status, err) == (0, [])
    said = "cat 0.609; foreground 50.0 %, background 0.0 %, contour 50.0 %"  # 1 - 100 / 256
    assert re.fullmatch(r"other.jpg: dog 0\.5[789]\d; foreground 0.0 %, background 50.0 %, contour 50.0 %", out.pop(1))
    assert out == [f"{name}: {said}" for name in ("pet.png", r"two\nlines \x1b[31mred.png", r"\udcff.png")]
    assert sorted(Path().rglob("*")) == before


def test_a_terminal_shows_how_many_pictures_are_answered(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = run("pet.png", "pet.png")
    assert (len(out), err[1]) == (2, "predict:   0%|          | 0/2 [00:00<?, ? pictures/s]")


def test_an_overlay_tints_foreground_and_contour_and_a_mask_has_the_values_of_the_trimaps(run) -> None:
    save_striped("half.png", BACKGROUND, CONTOUR)
    line = run("pet.png", "half.png", "pet.png", "--out", "new/folder")[1][1]
    assert line.endswith("; new/folder/half-overlay.png; new/folder/half-mask.png")
    tinted = {colour: (np.add(colour, COLOURS[k]) // 2).tolist() for k, colour in ((0, FOREGROUND), (2, CONTOUR))}
    for name, left, value in (("pet", tinted[FOREGROUND], 1), ("half", list(BACKGROUND), 2)):
        with Image.open(f"new/folder/{name}-overlay.png") as overlay, Image.open(f"new/folder/{name}-mask.png") as mask:
            np.testing.assert_array_equal(overlay, [[left] * 3 + [tinted[CONTOUR]] * 3] * 4)
            np.testing.assert_array_equal(mask, [[value] * 3 + [3] * 3] * 4)


@pytest.mark.parametrize("other", ["pet-overlay.png", "folder/pet.jpg", "PET.gif", "link.jpg"])
def test_no_output_takes_the_place_of_a_picture_or_of_another(run, other: str) -> None:
    Path("folder").mkdir()
    Path("link.jpg").symlink_to("pet-mask.png")
    save_striped(other, FOREGROUND)
    before = contents()
    status, out, err = run("pet.png", other, "--out", ".")
    assert re.fullmatch("predict: (pet|PET)-(overlay|mask).png: a picture or another output; .*", status)
    assert (out, err, contents()) == ([], [], before)
    Path("folder/pet-mask.png").symlink_to("../pet.png")
    assert run("pet.png", "folder/pet-mask.png", "--out", "elsewhere")[0] == 0


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_outputs_replace_what_is_in_the_folder_and_leave_what_that_is_linked_to(run) -> None:
    before = contents()
    Path("out").mkdir()
    os.link("pet.png", "out/pet-overlay.png")
    Path("out/pet-mask.png").symlink_to("../pet.png")
    assert run("pet.png", "--out", "out")[0] == 0
    assert contents().keys() - before.keys() == {Path("out/pet-overlay.png"), Path("out/pet-mask.png")}
    assert before.items() <= contents().items()


def test_what_is_no_picture_is_named_and_the_others_are_predicted(run) -> None:
    Path("cut\r.png").write_bytes(Path("pet.png").read_bytes()[:-30])
    Path("notes.jpg").write_text("a cat")
    Path("loop.jpg").symlink_to("loop.jpg")
    os.mkfifo("pipe.jpg")
    with Path("huge.jpg").open("wb") as file:
        file.truncate(10**12)
    long = f"{'n' * 251}.png"
    shutil.copy("pet.png", long)
    strange = ["missing.jpg", "loop.jpg", "pipe.jpg", "data", "/dev/zero", "cut\r.png", "notes.jpg", "huge.jpg", long]
    status, out, err = run(*strange, "pet.png", "--out", "out")
    written = sorted(path.name for path in Path("out").iterdir())
    assert (status, len(out), written) == (1, 1, ["pet-mask.png", "pet-overlay.png"])
    formats = "allowed: JPEG, PNG, GIF, BMP"
    assert re.fullmatch(rf"predict: cut\\r.png: not a readable picture: .*truncated.*; {formats}", err.pop(5))
    assert err == [
        "predict: missing.jpg: No such file or directory",
        "predict: loop.jpg: Too many levels of symbolic links",
        *(f"predict: {path}: not a file, but a folder, pipe or device" for path in ("pipe.jpg", "data", "/dev/zero")),
        f"predict: notes.jpg: not a readable picture: cannot identify image file; {formats}",
        f"predict: huge.jpg: not a readable picture: more than 16,777,216 bytes; {formats}",
        f"predict: out/.draft-{long[:-4]}-overlay.png: File name too long",
    ]


@pytest.mark.parametrize("missing", ["pet.png", "data/models/segmenter.keras", "data/models/classifier.keras"])
def test_a_missing_file_is_named_before_tensorflow_is_imported(run, missing: str) -> None:
    Path(missing).unlink()
    code = "import sys; sys.modules['tensorflow'] = None; from pipeline.predict import main; main()"
    done = run_in(Path(), sys.executable, "-c", code, "pet.png", check=False, PYTHONPATH=str(REPOSITORY))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.lower().startswith(f"predict: {missing}: no such file")


def test_a_folder_that_is_a_file_and_a_broken_checkpoint_end_the_program_with_one_line(run) -> None:
    assert run("pet.png", "--out", "pet.png") == ("predict: pet.png: File exists", [], [])
    Path("data/models/segmenter.keras").write_text("")
    assert run("pet.png")[0].startswith("predict: data/models/segmenter.keras: not a Keras checkpoint: ")


@pytest.mark.parametrize("task", TASKS)
def test_a_model_gets_of_a_picture_what_it_gets_in_evaluation(repository: Path, task: str) -> None:
    prepared = repository / "data/prepared" / task
    samples, images = pd.read_csv(prepared / "samples.csv"), np.load(prepared / "images.npy")
    rows = np.flatnonzero(samples["split"] == "test")
    pictures = dict(read_pictures(repository / "data/raw/images.tar.gz", samples["stem"][rows]))
    for row in rows:
        np.testing.assert_array_equal(square(pictures[samples["stem"][row]], 16), images[row])
