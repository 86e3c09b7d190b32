"""The model that a run holds: what is in it, and what it answers to hand-made pictures."""

import ast
import io
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.errors import InputError
from pipeline.tasks import TASKS
from pipeline.tracking.serving import log_model
from tests.helpers.colourmodels import RED, write_classifier, write_segmenter
from tests.helpers.petsbuilder import encode
from tests.helpers.project import run_in

AREAS = TASKS["segmenter"].labels


@pytest.fixture
def logged(tmp_path: Path, empty_store: Path) -> Callable[[str, Path], Path]:
    """Log a checkpoint of a task to a new store; the folder of the model."""
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}")
    experiment = mlflow.create_experiment("test", (tmp_path / "artifacts").as_uri())

    def log(task: str, checkpoint: Path) -> Path:
        with mlflow.start_run(experiment_id=experiment):
            return Path(mlflow.artifacts.download_artifacts(log_model(task, checkpoint).model_uri))

    return log


def test_a_model_is_the_checkpoint_itself_with_code_and_no_pickle(logged, tmp_path: Path) -> None:
    checkpoint = write_classifier(tmp_path / "classifier.keras")
    model = logged("classifier", checkpoint)
    assert (model / "data/classifier.keras").read_bytes() == checkpoint.read_bytes()
    files = [file for file in model.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".keras", ".py", ".txt", ".yaml", ".json", ""}


@pytest.mark.slow
def test_a_model_holds_the_code_that_answers_and_requires_every_package_that_this_imports(
    logged, tmp_path: Path
) -> None:
    model = logged("classifier", write_classifier(tmp_path / "classifier.keras"))
    code = "import pipeline.tracking.loader, pipeline.evaluation.segmenter, pipeline.evaluation.classifier, sys; "
    code += "print(*(one.__file__ for name, one in sys.modules.items() if name.startswith('pipeline')))"
    loaded = run_in(tmp_path, sys.executable, "-c", code, PYTHONPATH=str(model / "code")).stdout.split()
    assert all(file.startswith(str(model / "code")) for file in loaded)

    required = {line.split("==")[0] for line in (model / "requirements.txt").read_text().splitlines()}
    installed = packages_distributions().items()
    provided = {module for module, packages in installed if required & {name.lower() for name in packages}}
    imported = set().union(*(imports(Path(file)) for file in loaded))
    assert imported <= provided | sys.stdlib_module_names | {"pipeline"}
    assert "tensorflow" in required, "with which Keras computes"


def imports(module: Path) -> set[str]:
    """The first parts of the names that a module imports."""
    names = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module)
    return {name.split(".")[0] for name in names}


def test_logging_a_model_prints_nothing(logged, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    checkpoint = write_segmenter(tmp_path / "segmenter.keras")
    capfd.readouterr()
    logged("segmenter", checkpoint)
    assert capfd.readouterr() == ("", "")


def test_the_logged_segmenter_answers_with_the_mask_and_its_areas(logged, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(str(logged("segmenter", write_segmenter(tmp_path / "segmenter.keras"))))
    foreground, background, contour = RED
    red = np.repeat([[foreground, contour], [contour, background]], 3, axis=1)  # resized to 2 x 2, nothing is mixed
    picture = encode(Image.fromarray(np.stack([red, 0 * red, 0 * red], -1).astype(np.uint8)))
    answer = model.predict(pd.DataFrame({"picture": [picture]}))
    assert list(answer.columns) == model.metadata.signature.outputs.input_names() == ["mask", *AREAS]
    with Image.open(io.BytesIO(answer["mask"][0])) as mask:
        np.testing.assert_array_equal(mask, [[1, 1, 1, 3, 3, 3], [3, 3, 3, 2, 2, 2]])
    assert answer.loc[0, [*AREAS]].tolist() == [0.25, 0.25, 0.5]


def test_the_logged_classifier_answers_with_a_label_and_its_probability(logged, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(str(logged("classifier", write_classifier(tmp_path / "classifier.keras"))))
    pictures = [encode(Image.new("RGB", (9, 5), (red, 0, 0))) for red in (64, 128, 192)]
    answer = model.predict(pd.DataFrame({"picture": pictures}))
    assert list(answer.columns) == model.metadata.signature.outputs.input_names() == ["label", "probability"]
    assert answer.to_numpy().tolist() == [["cat", 0.75], ["dog", 0.5], ["dog", 0.75]]


def test_what_is_no_picture_is_one_line_that_names_the_row(logged, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(str(logged("classifier", write_classifier(tmp_path / "classifier.keras"))))
    picture = encode(Image.new("RGB", (9, 5)))
    for cell, says in ((None, "None is no picture; allowed: "), ("pet.jpg", "not a readable picture: ")):
        with pytest.raises(MlflowException, match=f"^row 1: {says}"):
            model.predict(pd.DataFrame({"picture": [picture, cell]}))


def test_a_checkpoint_that_wants_to_run_code_of_its_own_is_not_loaded(logged, tmp_path: Path) -> None:
    model = logged("classifier", write_classifier(tmp_path / "classifier.keras"))
    (model / "data/classifier.keras").unlink()
    keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Lambda(lambda x: x)]).save(model / "data/classifier.keras")
    with pytest.raises(InputError, match="not a Keras checkpoint"):
        mlflow.pyfunc.load_model(str(model))
