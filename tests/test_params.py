"""params.yaml: what is committed, what is accepted, and the one line for everything else."""

import re
from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from pipeline.errors import InputError
from pipeline.params import load_params
from tests.helpers.project import REPOSITORY

COMMITTED = (REPOSITORY / "params.yaml").read_text()
KEYS = [f"{section}.{key}" for section, keys in yaml.safe_load(COMMITTED).items() for key in keys]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(COMMITTED)


def edit(path: str, text: str) -> None:
    """Give a key of params.yaml a value, literally. A key that is not there is added."""
    section, key = path.split(".")
    head, found, rest = Path("params.yaml").read_text().partition(f"{section}:\n")
    block, blank, others = rest.partition("\n\n")
    block = re.sub(rf"(?m)^  {key}: .*(\n    .*)?\n?", "", block)
    Path("params.yaml").write_text(f"{head}{found or f'{section}:' + chr(10)}  {key}: {text}\n{block}{blank}{others}")


def error_line() -> str:
    with pytest.raises(InputError) as caught:
        load_params()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_committed_key_is_explained_at_its_side_or_above() -> None:
    assert load_params().download.dataset == "official"
    lines = COMMITTED.splitlines()
    keys = [k for k, line in enumerate(lines) if re.match(r"  \w+:", line)]
    assert len(keys) == len(KEYS)
    for k in keys:
        assert " # " in lines[k] or "sha256" in lines[k], lines[k]


def test_what_dvc_sets_changes_no_other_line_of_the_committed_file() -> None:
    with modify_yaml("params.yaml") as params:  # as `dvc exp run --set-param`
        params["plot"]["overfit_after"] = 7
    assert Path("params.yaml").read_text() == COMMITTED.replace("overfit_after: 5", "overfit_after: 7")


@pytest.mark.parametrize(("text", "value"), [("0.002", 0.002), ("1e-05", 0.00001), ("1.5E-3", 0.0015), ("1", 1.0)])
def test_a_float_may_be_written_as_dvc_writes_it(text: str, value: float) -> None:
    edit("train_segmenter.learning_rate", text)
    assert load_params().train_segmenter.learning_rate == value


def test_one_line_names_every_key_that_is_missing() -> None:
    Path("params.yaml").write_text("".join(f"{section}: {{}}\n" for section in yaml.safe_load(COMMITTED)))
    assert error_line() == "params.yaml: " + "; ".join(f"{key}: missing" for key in sorted(KEYS, key=error_line().find))


def test_one_line_names_every_key_of_a_wrong_type() -> None:
    for key in KEYS:
        edit(key, "[1, 2]")
    wrong = error_line().removeprefix("params.yaml: ").split("; ")
    assert {re.fullmatch(r"(.+): \[1, 2\]: should be .+", line)[1] for line in wrong} == {*KEYS}


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("train_segmenter.epochs", "true", "True: should be a valid integer"),
        ("train_segmenter.epochs", "5.0", "5.0: should be a valid integer"),
        ("train_segmenter.epochs", "0", "0: should be greater than or equal to 1"),
        ("train_classifier.batch_size", "5000", "5000: should be less than or equal to 4096"),
        ("train_classifier.seed", "4294967296", "4294967296: should be less than 4294967296"),
        ("train_segmenter.learning_rate", "'0.001'", "'0.001': should be a valid number"),
        ("train_segmenter.learning_rate", "0", "0: should be greater than 0"),
        ("train_segmenter.learning_rate", ".nan", "nan: should be a finite number"),
        ("train_segmenter.precision", "float16", "'float16': should be 'mixed' or 'float32'"),
        ("train_classifier.jit_compile", "1", "1: should be a valid boolean"),
        ("train_classifier.replicas", "3", "3: should divide batch_size, 32"),
        ("train_classifier.architecture", "vgg", "'vgg': should be 'mini_xception', 'naive' or 'residual'"),
        ("preprocess.validation_fraction", "1", "1: should be less than 1"),
        ("preprocess.segmenter_size", "204", "204: should be a multiple of 8"),
        ("evaluate_segmenter.bootstrap_samples", "10", "10: should be greater than or equal to 100"),
        ("plot.overfit_after", "never", "'never': should be a valid integer"),
        ("plot.colour", "red", "unknown key, found 'red'; allowed: overfit_after"),
        ("download.images_sha256", "A1", "'A1': String should match pattern '^[0-9a-f]{64}$'"),
    ],
)
def test_a_bad_value_is_one_line_with_the_key_the_value_and_what_is_allowed(key: str, text: str, says: str) -> None:
    edit(key, text)
    assert error_line() == f"params.yaml: {key}: {says}"


def test_an_unknown_section_is_answered_with_the_known_ones() -> None:
    Path("params.yaml").write_text(f"{COMMITTED}\nplots: 5\n")
    known = "download, preprocess, train_segmenter, train_classifier, evaluate_segmenter, evaluate_classifier, plot"
    assert error_line() == f"params.yaml: plots: unknown key, found 5; allowed: {known}"


@pytest.mark.parametrize("content", [b"plot: [", b"\xff\xfe\xfa", b"plot: 2024-99-99"])
def test_garbled_yaml_is_one_line(content: bytes) -> None:
    Path("params.yaml").write_bytes(content)
    assert error_line().startswith("params.yaml: not YAML: ")


@pytest.mark.parametrize(("content", "found"), [("", "None"), ("[1]", "[1]")])
def test_a_file_without_sections_is_refused(content: str, found: str) -> None:
    Path("params.yaml").write_text(content)
    assert error_line() == f"params.yaml: the file: {found}: should be a section of keys"


def test_a_key_that_is_defined_twice_is_refused() -> None:
    Path("params.yaml").write_text(f"{COMMITTED}\nplot:\n  overfit_after: 7\n")
    assert re.match(r'params.yaml: not YAML: .* found duplicate key "plot" .* line \d+, column 1', error_line())


def test_a_missing_file_is_named_with_the_folder(tmp_path: Path) -> None:
    Path("params.yaml").unlink()
    assert error_line() == f"params.yaml: No such file or directory (in {tmp_path})"
