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
from pipeline.data.pictures import size_of, square
from pipeline.evaluation import classifier, segmenter
from pipeline.evaluation.figures import COLOURS
from pipeline.predict import main, overlay_paths
from pipeline.training.checkpoint import load_checkpoint
from tests.helpers.colourmodels import RED, write_classifier, write_segmenter
from tests.helpers.petsbuilder import encode
from tests.helpers.project import run_in

FOREGROUND, BACKGROUND, CONTOUR = ((red, 60, 90) for red in RED)


def striped(*colours: tuple[int, int, int], height: int = 4) -> Image.Image:
    """A vertical stripe of three pixels for each colour."""
    row = np.repeat(np.array(colours, np.uint8), 3, axis=0)
    return Image.fromarray(np.repeat(row[None], height, axis=0))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: two checkpoints, and pet.png, foreground at the left and contour at the right."""
    models = tmp_path / "data/models"
    models.mkdir(parents=True)
    write_segmenter(models / "segmenter.keras")
    write_classifier(models / "classifier.keras")
    striped(FOREGROUND, CONTOUR).save(tmp_path / "pet.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int | str, list[str], list[str]]]:
    """Predict with these arguments: exit status or the line that ends the program; the lines of stdout, of stderr."""

    def predict(*arguments: str) -> tuple[int | str, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["predict", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out.splitlines(), err.splitlines()

    return predict


def test_a_mask_has_the_pictures_own_size_and_shares_of_its_pixels(workspace: Path) -> None:
    model = load_checkpoint(Path("data/models/segmenter.keras"))
    pictures = [encode(striped(FOREGROUND, CONTOUR, height=height)) for height in (4, 7)]
    found = segmenter.answer(model, np.stack([square(picture, 2) for picture in pictures]), [(6, 4), (6, 7)])
    for answer, height in zip(found, (4, 7), strict=True):
        assert answer.pop("mask").tolist() == [[0, 0, 0, 2, 2, 2]] * height
        assert answer == {"foreground": 0.5, "background": 0.0, "contour": 0.5}


@pytest.mark.parametrize(("red", "label", "probability"), [(64, "cat", 0.75), (128, "dog", 0.5), (192, "dog", 0.75)])
def test_the_probability_is_that_of_the_species_that_is_named(
    workspace: Path, red: int, label: str, probability: float
) -> None:
    model = load_checkpoint(Path("data/models/classifier.keras"))
    images = square(encode(Image.new("RGB", (5, 3), (red, 0, 0))), 4)[None]
    assert classifier.answer(model, images, [(5, 3)]) == [{"label": label, "probability": probability}]


def test_each_picture_gets_a_line(run) -> None:
    striped(CONTOUR, BACKGROUND).save("other.jpg", quality=100)
    status, out, err = run("pet.png", "other.jpg")
    assert (status, err) == (0, [])
    assert out[0] == "pet.png: cat 0.609; foreground 50.0 %, background 0.0 %, contour 50.0 %"  # 1 - 100 / 256
    assert re.fullmatch(r"other.jpg: dog 0\.5[789]\d; foreground 0.0 %, background 50.0 %, contour 50.0 %", out[1])


def test_a_file_larger_than_any_picture_is_one_line(run) -> None:
    with Path("huge.jpg").open("wb") as file:
        file.truncate(10**12)
    status, out, err = run("huge.jpg", "pet.png")
    assert (status, len(out), err) == (1, 1, ["predict: huge.jpg: more than 16777216 bytes; allowed: that many"])


def test_without_a_folder_nothing_is_written(run, workspace: Path) -> None:
    before = sorted(workspace.rglob("*"))
    run("pet.png")
    assert sorted(workspace.rglob("*")) == before


def test_an_overlay_is_the_picture_with_foreground_and_contour_tinted(run) -> None:
    striped(BACKGROUND, CONTOUR).save("half.png")
    assert run("pet.png", "half.png", "--out", "new/folder")[1][1].endswith("; new/folder/half-overlay.png")
    tinted = {colour: (np.add(colour, COLOURS[k]) // 2).tolist() for k, colour in ((0, FOREGROUND), (2, CONTOUR))}
    for name, left in (("pet", tinted[FOREGROUND]), ("half", list(BACKGROUND))):
        with Image.open(f"new/folder/{name}-overlay.png") as overlay:
            assert overlay.format == "PNG"
            np.testing.assert_array_equal(overlay, [[left] * 3 + [tinted[CONTOUR]] * 3] * 4)


def test_pictures_of_the_same_name_get_overlays_of_their_own(run, workspace: Path) -> None:
    names = ["a/pet.png", "b/pet.png", "b/pet.bmp", "b/PET.gif"]
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        striped(FOREGROUND, CONTOUR).save(name)
    assert run(*names, "--out", "b")[0] == 0
    written = {path.name for path in Path("b").iterdir()} - {"pet.png", "pet.bmp", "PET.gif"}
    assert written == {"pet-overlay.png", "pet-overlay-2.png", "pet-overlay-3.png", "PET-overlay-4.png"}


def test_no_overlay_takes_the_place_of_a_picture(run, workspace: Path) -> None:
    shutil.copy("pet.png", "pet-overlay.png")
    before = Path("pet-overlay.png").read_bytes()
    status, out, _ = run("pet.png", "pet-overlay.png", "--out", ".")
    assert (
        status == "predict: pet-overlay.png: a picture, and the place of an overlay; name another folder than --out ."
    )
    assert (out, Path("pet-overlay.png").read_bytes()) == ([], before)


def test_no_two_overlays_share_a_name() -> None:
    pictures = ["pet.png", "pet.jpg", "pet-2.png", "pet-overlay.png", "pet-overlay-2.png", "pet-2.jpg", "PET.png"]
    names = [name.lower() for name in map(str, overlay_paths([Path(picture) for picture in pictures], Path("out")))]
    assert len(set(names)) == len(pictures)


def test_what_is_no_picture_is_named_and_the_others_are_predicted(run, workspace: Path) -> None:
    (workspace / "notes.jpg").write_text("a cat")
    (workspace / "cut.png").write_bytes(Path("pet.png").read_bytes()[:-30])
    status, out, err = run("notes.jpg", "missing.jpg", "cut.png", "data", "pet.png", "--out", "overlays")
    assert status == 1
    assert [line.split(":")[0] for line in out] == ["pet.png"]
    assert [path.name for path in Path("overlays").iterdir()] == ["pet-overlay.png"]
    formats = "allowed: JPEG, PNG, GIF, BMP"
    assert err[0] == f"predict: notes.jpg: not a readable picture: cannot identify image file; {formats}"
    assert err[1] == "predict: missing.jpg: No such file or directory"
    assert re.fullmatch(rf"predict: cut.png: not a readable picture: .*truncated.*; {formats}", err[2])
    assert err[3] == "predict: data: Is a directory"
    assert len(err) == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file; `dvc repro` makes it, `dvc pull` fetches it"), (b"", "not a Keras checkpoint: .+")],
)
@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_without_a_checkpoint_one_line_says_so(run, workspace: Path, task: str, content: bytes, reason: str) -> None:
    path = Path(f"data/models/{task}.keras")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    status, out, err = run("pet.png", "--out", "overlays")
    assert re.fullmatch(rf"predict: {path}: {reason}", status)
    assert (out, err, Path("overlays").exists()) == ([], [], False)


def test_pictures_beyond_a_batch_get_the_answers_that_each_gets_alone(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.predict.BATCH", 2)
    stripes = {"a": FOREGROUND, "b": BACKGROUND, "c": CONTOUR, "d": (0, 0, 0), "e": (255, 255, 255)}
    for name, colour in stripes.items():
        striped(FOREGROUND, colour).save(f"{name}.png")
    alone = [run(f"{name}.png", "--out", "alone")[1][0] for name in stripes]
    names = ["a.png", "no.png", "neither.png", "nor.png", *(f"{name}.png" for name in "bcde")]
    status, together, err = run(*names, "--out", "together")
    assert (status, len(err), len(set(alone))) == (1, 3, 5)
    assert [line.replace("together", "alone") for line in together] == alone
    for name in stripes:
        written = [Path(folder, f"{name}-overlay.png").read_bytes() for folder in ("alone", "together")]
        assert written[0] == written[1]


def test_a_picture_whose_name_is_no_text_is_answered(run) -> None:
    shutil.copy("pet.png", os.fsdecode(b"\xff.png"))
    assert run(os.fsdecode(b"\xff.png"))[0] == 0


def test_a_folder_for_overlays_that_is_a_file_ends_in_one_line(run) -> None:
    assert run("pet.png", "--out", "pet.png")[0] == "predict: File exists: pet.png"


@pytest.fixture(scope="module")
def pictures(repository: Path) -> dict[str, bytes]:
    """The test pictures of the embedded pets, by stem."""
    stems = pd.read_csv(repository / "data/plots/classifier/predictions.csv")["stem"]
    return dict(read_pictures(repository / "data/raw/images.tar.gz", stems))


def test_the_classifier_says_of_each_test_picture_what_evaluation_wrote(
    repository: Path, pictures: dict[str, bytes]
) -> None:
    model = load_checkpoint(repository / "data/models/classifier.keras")
    table = pd.read_csv(repository / "data/plots/classifier/predictions.csv")
    said = classifier.answer(model, np.stack([square(pictures[stem], 16) for stem in table["stem"]]), [])
    assert [answer["label"] for answer in said] == table["predicted"].tolist()
    dog = [one["probability"] if one["label"] == "dog" else 1 - one["probability"] for one in said]
    np.testing.assert_allclose(dog, table["dog_probability"], atol=1e-6)  # the size of a batch may change the last bits


def test_the_segmenter_sees_of_a_test_picture_what_evaluation_sees(
    repository: Path, pictures: dict[str, bytes]
) -> None:
    model = load_checkpoint(repository / "data/models/segmenter.keras")
    prepared = repository / "data/prepared/segmenter"
    samples, images = pd.read_csv(prepared / "samples.csv"), np.load(prepared / "images.npy")
    for row in np.flatnonzero(samples["split"] == "test")[:20]:
        picture = pictures[samples["stem"][row]]
        np.testing.assert_array_equal(square(picture, 16), images[row])
        (answer,) = segmenter.answer(model, images[row][None], [size_of(picture)])
        found = Image.fromarray(answer["mask"])
        assert found.size == size_of(picture)
        small = np.asarray(found.resize((16, 16), Image.Resampling.NEAREST))
        (expected,) = segmenter.predict_masks(model, images[row][None])
        assert (small != expected).sum() <= 1, "a pixel between two classes, at most"


def test_the_program_predicts_with_the_checkpoints_of_its_folder(
    repository: Path, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "pet.jpg"
    path.write_bytes(pictures["boxer_1"])
    done = run_in(repository, sys.executable, "-m", "pipeline.predict", str(path), "no-such.jpg", check=False)
    assert done.returncode == 1
    share = r"\d+\.\d %"
    shares = rf"foreground {share}, background {share}, contour {share}"
    assert re.fullmatch(rf"{path}: (cat|dog) [01]\.\d{{3}}; {shares}\n", done.stdout)
    assert done.stderr.endswith("\npredict: no-such.jpg: No such file or directory\n")
