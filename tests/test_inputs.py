"""What decides the outputs of a stage, and that it is still the same when the stage hands them over."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.inputs import content_md5, inputs, unchanged
from tests.helpers.project import write_params


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two stages, the parameters, a file of code."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    Path("dvc.yaml").write_text("""
stages:
  plot: {cmd: plot, params: [plot], deps: [code.py, history.csv]}
  train_classifier: {cmd: train, params: [train_classifier.epochs], deps: ["${train_classifier.architecture}.py"]}
""")
    Path("code.py").write_text("a = 1\n")
    return tmp_path


def test_parameters_are_named_by_value_and_dependencies_by_md5() -> None:
    md5 = hashlib.md5(b"a = 1\n").hexdigest()
    assert inputs("plot") == {"plot": {"overfit_after": 5}, "code.py": md5, "history.csv": None}


def test_a_parameter_in_the_path_of_a_dependency_is_filled_in_as_dvc_does() -> None:
    assert inputs("train_classifier") == {"train_classifier.epochs": 100, "mini_xception.py": None}


def edit_params() -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("overfit_after: 5", "overfit_after: 6"))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda: Path("code.py").write_text("a = 2\n"), "code.py"),
        (lambda: Path("code.py").unlink(), "code.py"),
        (lambda: Path("history.csv").write_text("epoch\n"), "history.csv"),
        (edit_params, "plot"),
    ],
    ids=["code", "code that is gone", "data", "a parameter"],
)
def test_an_input_that_is_edited_meanwhile_is_one_line(edit: Callable[[], None], named: str) -> None:
    with unchanged("plot") as before:
        Path("other.py").write_text("an edit that decides nothing")
    assert before == inputs("plot")
    line = f"^{named}: edited while plot ran; undo that and run again"
    with pytest.raises(InputError, match=line), unchanged("plot"):
        edit()


def test_a_folder_without_dvc_yaml_is_one_line(project: Path) -> None:
    Path("dvc.yaml").unlink()
    with pytest.raises(InputError, match=f"^dvc.yaml: no such file in {project}; run in the root of a clone$"):
        inputs("plot")


def test_the_md5_of_a_folder_is_that_of_dvc_s_list_of_its_files() -> None:
    Path("folder").mkdir()
    for name in ("b", "a"):
        Path("folder", name).write_text(name)
    listed = [{"md5": hashlib.md5(name.encode()).hexdigest(), "relpath": name} for name in "ab"]
    assert content_md5(Path("folder")) == hashlib.md5(json.dumps(listed).encode()).hexdigest() + ".dir"
