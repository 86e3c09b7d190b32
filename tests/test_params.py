"""params.yaml: what is committed, what is accepted, and the one line for everything else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.params import load_params
from tests.helpers.project import REPOSITORY

COMMITTED = REPOSITORY / "params.yaml"
KEYS = [f"{section}.{key}" for section, keys in yaml.safe_load(COMMITTED.read_text()).items() for key in keys]


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_texts(changes: dict[str, str | None]) -> None:
    """The committed parameters with some `section.key` as given, literally, or without it where it is None."""
    sections = yaml.safe_load(COMMITTED.read_text())
    for path, text in changes.items():
        section, key = path.split(".")
        sections.setdefault(section, {})[key] = text
    lines = []
    for section, keys in sections.items():
        lines += [
            f"{section}: {{" + ", ".join(f"{key}: {text}" for key, text in keys.items() if text is not None) + "}"
        ]
    Path("params.yaml").write_text("\n".join(lines) + "\n")


def write_plot(text: str) -> str:
    """The committed parameters with the last section, `plot`, as given."""
    head, last = COMMITTED.read_text().split("\nplot:\n")
    assert not re.search(r"^\S", last, re.MULTILINE)
    Path("params.yaml").write_text(f"{head}\n{text}")
    return f"{head}\n{text}"


def error_line() -> str:
    with pytest.raises(InputError) as caught:
        load_params()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_committed_parameters_are_the_real_thing():
    params = load_params(COMMITTED)
    assert params.download.dataset == "official"
    assert (params.preprocess.segmenter_size, params.preprocess.classifier_size) == (200, 180)
    segmenter, classifier = params.train_segmenter, params.train_classifier
    assert (segmenter.architecture, segmenter.epochs, segmenter.batch_size) == ("encoder_decoder", 50, 64)
    assert (classifier.architecture, classifier.epochs, classifier.batch_size) == ("mini_xception", 100, 32)


def test_every_key_is_explained_at_its_side_or_above():
    seen, unexplained, above = 0, [], False
    for line in COMMITTED.read_text().splitlines():
        if key := re.match(r"  \w+: \S+( # \S)?", line):
            seen += 1
            if not (key[1] or above):
                unexplained.append(line.strip())
        else:
            above = line.startswith("  # ")
    assert (seen, unexplained) == (len(KEYS), [])


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.002", 0.002), ("1e-3", 0.001), ("1e-05", 0.00001), ("1.5e-3", 0.0015), ("2.5E-1", 0.25), ("1", 1.0)],
)
def test_a_float_may_be_written_as_dvc_writes_it(text, value):
    write_texts({"train_segmenter.learning_rate": text})
    assert load_params().train_segmenter.learning_rate == value


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key):
    write_texts({key: None})
    assert f"{key}: missing" in error_line()


@pytest.mark.parametrize("key", KEYS)
def test_a_list_is_the_wrong_type_for_every_key(key):
    write_texts({key: "[1, 2]"})
    assert re.fullmatch(rf"params.yaml: {key}: \[1, 2\]: should be .+", error_line())


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("train_segmenter.epochs", "true", "True: should be a valid integer"),
        ("train_segmenter.epochs", "5.0", "5.0: should be a valid integer"),
        ("train_segmenter.epochs", "1e1", "'1e1': should be a valid integer"),
        ("train_segmenter.epochs", "0", "0: should be greater than or equal to 1"),
        ("train_classifier.batch_size", "5000", "5000: should be less than or equal to 4096"),
        ("train_classifier.seed", "-1", "-1: should be greater than or equal to 0"),
        ("train_classifier.seed", "4294967296", "4294967296: should be less than 4294967296"),
        ("train_segmenter.learning_rate", "fast", "'fast': should be a valid number"),
        ("train_segmenter.learning_rate", "'0.001'", "'0.001': should be a valid number"),
        ("train_segmenter.learning_rate", "true", "True: should be a valid number"),
        ("train_segmenter.learning_rate", "0", "0: should be greater than 0"),
        ("train_segmenter.learning_rate", ".nan", "nan: should be a finite number"),
        ("train_segmenter.learning_rate", ".inf", "inf: should be a finite number"),
        ("train_segmenter.learning_rate", "1e400", "inf: should be a finite number"),
        ("train_segmenter.precision", "float16", "'float16': should be 'mixed' or 'float32'"),
        ("train_classifier.jit_compile", "1", "1: should be a valid boolean"),
        ("train_classifier.replicas", "0", "0: should be greater than or equal to 1"),
        ("preprocess.validation_fraction", "1", "1: should be less than 1"),
        ("preprocess.max_reject_fraction", "-0.1", "-0.1: should be greater than or equal to 0"),
        ("preprocess.segmenter_size", "204", "204: should be a multiple of 8"),
        ("preprocess.segmenter_size", "8", "8: should be greater than or equal to 16"),
        ("preprocess.classifier_size", "2000", "2000: should be less than or equal to 1024"),
        ("evaluate_segmenter.bootstrap_samples", "10", "10: should be greater than or equal to 100"),
        ("evaluate_classifier.grid_pictures", "101", "101: should be less than or equal to 100"),
        ("plot.overfit_after", "0", "0: should be greater than or equal to 1"),
        ("download.dataset", "cifar", "'cifar': should be 'official' or 'embedded'"),
        (
            "train_segmenter.architecture",
            "unet",
            "'unet': should be one of encoder_decoder (the files in pipeline/models/segmenter/)",
        ),
        (
            *("train_classifier.architecture", "vgg"),
            "'vgg': should be one of mini_xception, naive, residual (the files in pipeline/models/classifier/)",
        ),
        ("train_classifier.augmentation", "strong", "'strong': should be 'none' or 'chapter'"),
        ("plot.colour", "red", "unknown key, found 'red'; allowed: overfit_after"),
    ],
)
def test_a_bad_value_is_one_line_with_the_key_the_value_and_what_is_allowed(key, text, says):
    write_texts({key: text})
    assert error_line() == f"params.yaml: {key}: {says}"


def test_an_unknown_section_is_answered_with_the_known_ones():
    write_texts({"plots.overfit_after": "5"})
    assert re.match(r"params.yaml: plots: unknown key, .*; allowed: download, preprocess, .*, plot$", error_line())


@pytest.mark.parametrize("text", ["67195c", "g" * 64, "A" * 64, "a" * 65])
def test_a_checksum_is_64_hexadecimal_digits(text):
    write_texts({"download.images_sha256": text})
    assert re.match(rf"params.yaml: download.images_sha256: '{text}': .*\[0-9a-f\]\{{64\}}", error_line())


def test_the_one_line_names_all_that_is_wrong():
    write_texts({"preprocess.seed": "-1", "plot.overfit_after": "x"})
    assert re.fullmatch(r"params.yaml: preprocess.seed: -1: [^;]+; plot.overfit_after: 'x': [^;]+", error_line())


def test_a_batch_that_replicas_cannot_share_evenly_is_an_error():
    write_texts({"train_classifier.replicas": "3"})
    says = "params.yaml: train_classifier.batch_size: 32: should be a multiple of replicas, 3"
    assert error_line() == says
    write_texts({"train_classifier.replicas": "4"})
    assert load_params().train_classifier.replicas == 4


@pytest.mark.parametrize("content", [b"plot: [", b"a: b: c", b"plot:\n\toverfit_after: 5\n", b"\xff\xfe\xfa", b"\x00"])
def test_garbled_yaml_is_one_line(content):
    Path("params.yaml").write_bytes(content)
    assert error_line().startswith("params.yaml: not YAML: ")


@pytest.mark.parametrize(("content", "found"), [("", "None"), ("[1]", "[1]"), ("epochs", "'epochs'")])
def test_a_file_without_sections_is_refused(content, found):
    Path("params.yaml").write_text(content)
    assert error_line() == f"params.yaml: the file: {found}: should be a section of keys"


@pytest.mark.parametrize(
    ("key", "addition"),
    [("overfit_after", "  overfit_after: 7\n"), ("plot", "plot:\n  overfit_after: 7\n")],
    ids=["key", "section"],
)
def test_a_key_that_is_defined_twice_is_refused_at_its_second_place(key, addition):
    before = write_plot("plot:\n  overfit_after: 5\n")
    write_plot("plot:\n  overfit_after: 5\n" + addition)
    place = rf"line {before.count(chr(10)) + 1}, column {1 + addition.index(key)}: "
    assert re.match(rf"params.yaml: not YAML: the key {key} is defined twice in .+, {place}", error_line())


def test_a_key_merged_from_another_mapping_is_not_defined_twice():
    write_plot("plot:\n  <<: {overfit_after: 5}\n  overfit_after: 7\n")
    assert load_params().plot.overfit_after == 7


def test_a_missing_file_is_named_with_the_folder(tmp_path):
    assert error_line() == f"params.yaml: No such file or directory (in {tmp_path})"


def test_a_stage_with_bad_parameters_ends_with_one_line_before_any_work(tmp_path):
    write_texts({"plot.overfit_after": "never"})
    stage = subprocess.run(
        [sys.executable, "-m", "pipeline.preprocess", "classifier"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    says = "preprocess_classifier: params.yaml: plot.overfit_after: 'never': should be a valid integer\n"
    assert (stage.returncode, stage.stdout, stage.stderr) == (1, "", says)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".preprocess_classifier.lock", "data", "params.yaml"]
