"""A full disk, at any stage: one line, nothing is lost, and what runs after room was made ends with the same bytes."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import stage as stages
from pipeline.evaluate import evaluate
from pipeline.inputs import content_md5
from pipeline.paths import MODELS
from pipeline.predict import predict
from pipeline.tracking.sync import sync
from pipeline.train import train
from tests.helpers.colourmodels import write_classifier, write_segmenter
from tests.helpers.disks import make_room, small_disk
from tests.helpers.project import clone_of, run_in
from tests.helpers.training import epochs_trained, lock_outputs, logged, only_run

pytestmark = pytest.mark.slow

FULL = "No space left on device; make room and run again, nothing is lost"


def outputs() -> dict[str, str]:
    """Every file in data/, by its md5."""
    return {str(path): content_md5(path) for path in Path("data").rglob("*") if path.is_file()}


def line_of(stage: Callable[..., None], *arguments: object) -> str:
    """The one line with which a stage ends as a program, without its name."""
    with pytest.raises(SystemExit) as ended, stages.program("stage"):
        stage(*arguments)
    name, _, line = ended.value.code.partition(": ")
    assert name == "stage"
    assert "\n" not in line
    return line


def test_a_training_on_a_full_disk_keeps_its_last_epoch_and_ends_with_the_same_bytes(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    train("classifier")
    expected = outputs()
    shutil.rmtree("data/models")
    capsys.readouterr()

    state = Path(".training").resolve()
    with small_disk(state, 6600):  # one state of 3.5 MB, not the next beside it
        assert re.fullmatch(rf"{state}/classifier-\w+\.npz: {FULL}", line_of(train, "classifier"))
        assert epochs_trained(capsys) == [1]
        assert not list(state.glob(".draft-*")), "what is not whole takes no room"
        make_room(state)
        with small_disk(MODELS, 400):
            assert line_of(train, "classifier") == f"data/models/classifier.keras: {FULL}"
            assert epochs_trained(capsys) == [2, 3]
            assert not list(MODELS.iterdir())
        train("classifier")
        assert epochs_trained(capsys) == [], "all were there"
    assert outputs() == expected
    assert only_run("classifier").info.status == "FINISHED"


def test_a_prediction_on_a_full_disk_is_one_line(prepared: Path, capsys: pytest.CaptureFixture) -> None:
    MODELS.mkdir()
    write_classifier(MODELS / "classifier.keras")
    write_segmenter(MODELS / "segmenter.keras")
    out = prepared / "predicted"
    run_in(prepared, "python", "-c", "from PIL import Image; Image.effect_noise((90, 90), 99).save('pet.png')")
    with small_disk(out, 4):
        assert not predict([Path("pet.png")], out)
    assert capsys.readouterr() == ("", f"predict: {out}/pet-overlay.png: {FULL}\n")


def test_a_store_on_a_full_disk_ends_no_training_and_sync_completes_the_run(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    place = prepared / "store"
    with small_disk(place, 1100):  # the database, and not the checkpoint
        shutil.copy("mlflow.db", place)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
        train("classifier")
        evaluate("classifier")
        said = capfd.readouterr().err
        assert f"warning: the MLflow store sqlite:///{place}/mlflow.db cannot be used: " in said
        assert "`python -m pipeline.tracking sync` writes what is missing, later" in said
        assert "Traceback" not in said

        make_room(place)
        lock_outputs("classifier")
        sync([])
        run = only_run("classifier")
        assert run.info.status == "FINISHED"
        assert [step for step, _ in logged(run, "loss")] == [1, 2, 3]


def test_dvc_repro_on_a_full_disk_has_one_line_of_ours_and_then_goes_on(repository: Path, tmp_path: Path) -> None:
    folder = clone_of(repository, tmp_path / "clone")
    command = ("dvc", "repro", "--force", "--single-item", "plot")
    with small_disk(folder / "data/plots", 8):
        done = run_in(folder, *command, check=False)
    assert done.returncode != 0
    ours, dvc = done.stderr.splitlines()
    assert ours == f"plot: data/plots/curves: {FULL}"
    assert dvc.startswith("ERROR: failed to reproduce 'plot'")
    run_in(folder, *command)
    assert (folder / "dvc.lock").read_bytes() == (repository / "dvc.lock").read_bytes()
