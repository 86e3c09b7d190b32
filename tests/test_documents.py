"""What the documents promise word for word: the lines of errors, and the example of an architecture."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline import stage as stages
from pipeline.download import download
from pipeline.inputs import unchanged
from pipeline.paths import MODELS
from pipeline.predict import predict
from pipeline.train import train
from pipeline.training.checkpoint import load_checkpoint
from tests.helpers.disks import small_disk
from tests.helpers.project import REPOSITORY, start_stage, tiny, write_params


def block(document: str, heading: str, kind: str) -> str:
    """Return the first block of a kind under a heading."""
    text = (REPOSITORY / document).read_text().partition(f"\n## {heading}\n")[2]
    return re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1]


def line_of(name: str, action: Callable[..., object], *arguments: object) -> str:
    """Return what a program prints when it ends with an error."""
    with pytest.raises(SystemExit) as ended, stages.program(name):
        action(*arguments)
    return ended.value.code


def train_with(**changes: object) -> str:
    write_params(Path(), **tiny(train_classifier=changes))
    return line_of("train_classifier", train, "classifier")


def no_network(patch: pytest.MonkeyPatch) -> str:
    patch.setenv("https_proxy", "http://127.0.0.1:9")
    return line_of("download", download)


def no_server(patch: pytest.MonkeyPatch) -> str:
    patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return line_of("train_classifier", train, "classifier")


def two_at_once(patch: pytest.MonkeyPatch) -> str:
    patch.setattr(stages, "LOCK_TIMEOUT", 0.1)
    with FileLock("data/.train_classifier.lock"):
        return line_of("train_classifier", stages.run, train, "classifier")


def edit_of_inputs(patch: pytest.MonkeyPatch) -> str:
    def edited() -> None:
        with unchanged("train_classifier"):
            write_params(Path(), **tiny(train_classifier={"epochs": 4}))

    return line_of("train_classifier", edited)


def full_disk(patch: pytest.MonkeyPatch) -> str:
    with small_disk(MODELS, 400):
        return line_of("train_classifier", train, "classifier")


PROVOKED = (
    lambda patch: train_with(epochs=0),
    lambda patch: train_with(learning_rte=0.003),
    lambda patch: train_with(architecture="xception"),
    no_network,
    no_server,
    two_at_once,
    edit_of_inputs,
    full_disk,
    lambda patch: line_of("predict", predict, [Path("pet.jpg")], None),
)
ERRORS = block("docs/errors.md", "Lines as they are printed", "text").splitlines()


@pytest.mark.parametrize(("line", "provoke"), [*zip(ERRORS, PROVOKED, strict=True)])
def test_an_error_is_printed_as_the_documents_have_it(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, line: str, provoke: Callable[[pytest.MonkeyPatch], str]
) -> None:
    assert re.fullmatch(re.escape(line).replace("…", ".+"), provoke(monkeypatch))


@pytest.mark.slow
def test_the_architecture_that_contributing_adds_trains(prepared: Path) -> None:
    shutil.copytree(REPOSITORY / "pipeline", prepared / "pipeline")
    diff = block("CONTRIBUTING.md", "Add an architecture", "diff")
    subprocess.run(["git", "apply"], cwd=prepared, input=diff, text=True, check=True)
    write_params(prepared, **tiny(train_classifier={"architecture": "averaged"}))
    _, said = start_stage(prepared, "train", "classifier", PYTHONPATH=str(prepared)).communicate()
    assert "Traceback" not in said
    assert load_checkpoint(MODELS / "classifier.keras").name == "averaged"
