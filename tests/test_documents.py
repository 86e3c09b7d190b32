"""What README.md and CONTRIBUTING.md promise word for word: the errors, and the example of an architecture."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline import stage
from pipeline.paths import MODELS
from pipeline.train import train
from pipeline.training.checkpoint import load_checkpoint
from tests.helpers.disks import small_disk
from tests.helpers.project import REPOSITORY, start_stage, tiny, write_params
from tests.test_full_disk import line_of


def block(document: str, heading: str, kind: str) -> str:
    """The first block of a kind under a heading."""
    text = (REPOSITORY / document).read_text().partition(f"\n## {heading}\n")[2]
    return re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1]


def last_line(*arguments: str, **variables: str) -> str:
    return start_stage(Path(), *arguments, **variables).communicate()[1].splitlines()[-1]


def value_out_of_range() -> str:
    write_params(Path(), **tiny(train_classifier={"epochs": 0}))
    return last_line("train", "classifier")


def typo() -> str:
    write_params(Path(), **tiny(train_classifier={"learning_rte": 0.003}))
    return last_line("train", "classifier")


def no_network() -> str:
    return last_line("download", https_proxy="http://127.0.0.1:9")


def no_server() -> str:
    unreachable = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return last_line("train", "classifier", **unreachable)


def at_work() -> str:
    with pytest.MonkeyPatch.context() as patch, FileLock("data/.train_classifier.lock"):
        patch.setattr(stage, "PATIENCE", 0.1)
        with pytest.raises(SystemExit) as ended:
            stage.run(train, "classifier")
    return ended.value.code


def full_disk() -> str:
    with small_disk(MODELS, 400):
        return f"train_classifier: {line_of(train, 'classifier')}"


def no_checkpoint() -> str:
    return last_line("predict", "pet.jpg")


ERRORS = block("README.md", "When something goes wrong", "text").splitlines()
PROVOKED = (value_out_of_range, typo, no_network, no_server, at_work, full_disk, no_checkpoint)


@pytest.mark.parametrize(("line", "provoke"), [*zip(ERRORS, PROVOKED, strict=True)])
def test_an_error_is_printed_as_the_readme_has_it(prepared: Path, line: str, provoke: Callable[[], str]) -> None:
    assert re.fullmatch(re.escape(line).replace("…", ".+"), provoke())


def test_the_architecture_that_contributing_adds_trains(prepared: Path) -> None:
    shutil.copytree(REPOSITORY / "pipeline", prepared / "pipeline")
    diff = block("CONTRIBUTING.md", "Add an architecture", "diff")
    subprocess.run(["git", "apply"], cwd=prepared, input=diff, text=True, check=True)
    write_params(prepared, **tiny(train_classifier={"architecture": "averaged"}))
    _, said = start_stage(prepared, "train", "classifier", PYTHONPATH=str(prepared)).communicate()
    assert "Traceback" not in said
    assert load_checkpoint(MODELS / "classifier.keras").name == "averaged"
