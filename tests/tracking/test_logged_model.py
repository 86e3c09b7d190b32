"""The model that a run holds: what is in it, and what it answers to hand-made pictures."""

import ast
import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import packages_distributions
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

import pipeline
from pipeline.tasks import TASKS
from pipeline.tracking.serving import log_model
from tests.helpers.colourmodels import RED, write_classifier, write_segmenter
from tests.helpers.petsbuilder import encode
from tests.helpers.project import run_in

AREAS = TASKS["segmenter"].labels


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> dict[str, Path]:
    """The folder of the model that a store has of each task's checkpoint, and of `strict`, a classifier of other code.

    `strict` calls a picture a dog from a probability of 0.7 on.
    """
    folder = tmp_path_factory.mktemp("logged")
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, folder / 'mlflow.db')}")
    experiment = mlflow.create_experiment("test", (folder / "artifacts").as_uri())
    other = shutil.copytree(Path(pipeline.__file__).parent, folder / "other") / "__init__.py"
    code = other.with_name("answers") / "classifier.py"
    code.write_text(code.read_text().replace("DOG_FROM = 0.5", "DOG_FROM = 0.7"))
    tasks = {"segmenter": write_segmenter, "classifier": write_classifier}
    found, patch = {}, pytest.MonkeyPatch()
    for name, task, init in (*((task, task, pipeline.__file__) for task in tasks), ("strict", "classifier", other)):
        checkpoint, said = tasks[task](folder / f"{task}.keras"), io.StringIO()
        patch.setattr(pipeline, "__file__", str(init))
        with mlflow.start_run(experiment_id=experiment), redirect_stdout(said), redirect_stderr(said):
            info = log_model(task, checkpoint)
        assert said.getvalue() == ""
        found[name] = Path(mlflow.artifacts.download_artifacts(info.model_uri))
        assert (found[name] / f"data/{task}.keras").read_bytes() == checkpoint.read_bytes()
    patch.undo()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_model_loads_beside_another_pipeline_and_requires_every_package_that_its_code_imports(
    logged: dict[str, Path], tmp_path: Path, task: str
) -> None:
    model = logged[task]
    (tmp_path / "pipeline.py").touch()
    code = "import pipeline, sys, mlflow; mlflow.pyfunc.load_model(sys.argv[1]); "
    code += "print(*(one.__file__ for name, one in sys.modules.items() if name.startswith('pets_') and one.__file__))"
    loaded = run_in(tmp_path, sys.executable, "-c", code, str(model)).stdout.split()
    assert {*map(Path, loaded)} == {*(model / "code").rglob("*.py")}, "no more is packed than is needed"

    required = {line.split("==")[0] for line in (model / "requirements.txt").read_text().splitlines()}
    installed = packages_distributions().items()
    provided = {module for module, packages in installed if required & {name.lower() for name in packages}}
    imported = set().union(*(imports(Path(file)) for file in loaded))
    assert imported <= provided | sys.stdlib_module_names | {path.name for path in (model / "code").iterdir()}
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


def test_the_logged_segmenter_answers_with_the_mask_and_its_areas(logged: dict[str, Path]) -> None:
    model = mlflow.pyfunc.load_model(str(logged["segmenter"]))
    foreground, background, contour = RED
    red = np.repeat([[foreground, contour], [contour, background]], 3, axis=1)  # resized to 2 x 2, nothing is mixed
    picture = encode(Image.fromarray(np.stack([red, 0 * red, 0 * red], -1).astype(np.uint8)))
    answer = model.predict(pd.DataFrame({"picture": [picture]}))
    assert list(answer.columns) == model.metadata.signature.outputs.input_names() == ["mask", *AREAS]
    with Image.open(io.BytesIO(answer["mask"][0])) as mask:
        np.testing.assert_array_equal(mask, [[1, 1, 1, 3, 3, 3], [3, 3, 3, 2, 2, 2]])
    assert answer.loc[0, [*AREAS]].tolist() == [0.25, 0.25, 0.5]


def test_the_logged_classifier_answers_with_a_label_and_its_probability_or_one_line(logged: dict[str, Path]) -> None:
    model = mlflow.pyfunc.load_model(str(logged["classifier"]))
    pictures = [encode(Image.new("RGB", (9, 5), (red, 0, 0))) for red in (64, 128, 192)]
    answer = model.predict(pd.DataFrame({"picture": pictures}))
    assert list(answer.columns) == model.metadata.signature.outputs.input_names() == ["label", "probability"]
    assert answer.to_numpy().tolist() == [["cat", 0.75], ["dog", 0.5], ["dog", 0.75]]
    for cell, says in ((None, "None is no picture; allowed: "), ("pet.jpg", "not a readable picture: ")):
        with pytest.raises(MlflowException, match=f"^row 1: {says}"):
            model.predict(pd.DataFrame({"picture": [pictures[0], cell]}))


def test_versions_with_other_code_answer_side_by_side(logged: dict[str, Path]) -> None:
    models = [mlflow.pyfunc.load_model(str(logged[name])) for name in ("classifier", "strict")]
    picture = pd.DataFrame({"picture": [encode(Image.new("RGB", (9, 5), (160, 0, 0)))]})  # 0.625 a dog
    assert [model.predict(picture)["label"][0] for model in models] == ["dog", "cat"]


def test_mlflow_evaluates_the_labels_and_more_pictures_than_a_request_may_hold(
    logged: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETS_MAX_PICTURES", "40")
    model = mlflow.pyfunc.load_model(str(logged["classifier"]))
    pictures = [encode(Image.new("RGB", (9, 5), (red, 0, 0))) for red in (64, 100, 150, 200)]
    data = pd.DataFrame({"picture": 10 * pictures, "species": 10 * ["cat", "dog", "dog", "dog"]})
    with mlflow.start_run(experiment_id="1"):  # that of `logged`
        how = {"targets": "species", "model_type": "classifier"}
        found = mlflow.models.evaluate(lambda rows: model.predict(rows)["label"], data, **how)
    assert found.metrics["accuracy_score"] == 0.75


def test_a_model_holds_no_pickle_and_a_checkpoint_with_code_of_its_own_is_not_loaded(
    logged: dict[str, Path], tmp_path: Path
) -> None:
    files = [file for file in logged["classifier"].rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".keras", ".py", ".txt", ".yaml", ".json", ""}
    model = shutil.copytree(logged["classifier"], tmp_path / "model")
    (model / "data/classifier.keras").unlink()
    keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Lambda(lambda x: x)]).save(model / "data/classifier.keras")
    with pytest.raises(Exception, match="not a Keras checkpoint"):
        mlflow.pyfunc.load_model(str(model))
