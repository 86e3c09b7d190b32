"""Where the store is, and one line for whatever keeps it from being used. On both stores."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import unquote

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from pipeline.errors import InputError
from pipeline.tracking.store import connect, idempotent
from tests.helpers.project import REPOSITORY, environment
from tests.helpers.training import record_one


def test_what_outlives_a_temporary_folder_names_the_repository_whose_path_may_hold_all_kinds_of_letters(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dvc exp run --temp` works in a folder that is deleted."""
    root = prepared / "a & b=c #1 'e' ü"
    shutil.copytree("data", root / "temporary/data")
    shutil.copy("params.yaml", root / "temporary")
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(root / "temporary")
    run = record_one("segmenter")
    places = {name: mlflow.get_experiment_by_name(name).artifact_location for name in ("pets-segmenter", "Default")}
    assert places["pets-segmenter"] == (root / "mlartifacts").as_uri()
    assert unquote(places["Default"]).removeprefix("file://") == str(root / "mlruns/0")
    assert (root / "data/prepared/segmenter").as_uri() in run.inputs.dataset_inputs[0].dataset.source
    assert mlflow.artifacts.download_artifacts(f"models:/{run.outputs.model_outputs[0].model_id}")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    record_one("classifier")
    assert {path.name for path in Path().iterdir()} == {"data", "params.yaml"}
    with sqlite3.connect(root / "mine.db") as database:
        assert database.execute("SELECT name, version FROM model_versions").fetchall() == [("pets-classifier", 1)]


def test_every_relative_store_of_files_begins_at_the_root_and_holds_a_whole_run(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(prepared))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    shutil.copytree("data", "temporary/data")
    shutil.copy("params.yaml", "temporary")
    monkeypatch.chdir("temporary")
    for uri, folder in (("./a", "a"), ("b", "b"), ("file:c", "c"), ("file:./d d", "d d")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        connect("classifier")
        assert (prepared / folder).is_dir()
    assert record_one("classifier").data.tags["champion"].startswith("yes")
    assert {path.name for path in Path().iterdir()} == {"data", "params.yaml"}
    shutil.rmtree(prepared / "d d")
    with pytest.raises(InputError, match=r"d%20d cannot be used: '.+/d d' does not exist\.$"):
        connect("classifier")


@pytest.mark.slow
def test_a_store_whose_making_was_killed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "from pipeline.tracking.store import connect; connect('classifier')"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment() | {"PYTHONPATH": str(REPOSITORY)})
    draft = tmp_path / "mlflow.db.draft"
    while not draft.exists() or draft.stat().st_size < 100_000:  # of a million: between two of its many steps
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    assert connect("classifier")
    assert sorted(path.name for path in tmp_path.glob("mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


def test_a_store_that_was_moved_is_one_line_for_its_artifacts_are_elsewhere(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_one("classifier")
    (prepared / "new").mkdir()
    Path("mlflow.db").rename("new/mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow has set it
    monkeypatch.chdir("new")
    with pytest.raises(
        InputError, match=f"was moved or copied, its artifacts are in {(prepared / 'mlartifacts').as_uri()}"
    ):
        connect("classifier")


def test_a_deleted_experiment_is_one_line_with_the_command_that_restores_it(store: Path) -> None:
    experiment = connect("classifier")
    mlflow.delete_experiment(experiment)
    with pytest.raises(InputError, match=f"pets-classifier was deleted; `mlflow experiments restore -x {experiment}`"):
        connect("classifier")


@pytest.mark.parametrize(("key", "calls"), [("gone", 2), ("too long" * 100, 1)], ids=["gone", "too long"])
def test_only_what_another_machine_may_have_caused_is_tried_again(store: Path, key: str, calls: int) -> None:
    experiment, client, tried = connect("classifier"), mlflow.MlflowClient(), []
    run_id = client.create_run(experiment).info.run_id

    @idempotent
    def write() -> None:
        tried.append(key)
        client.delete_tag(run_id, key) if tried == ["gone"] else client.set_tag(run_id, key, "")

    with nullcontext() if key == "gone" else pytest.raises(MlflowException, match="exceeds"):
        write()
    assert len(tried) == calls


def test_a_file_that_is_no_store_is_one_line(prepared: Path) -> None:
    Path("mlflow.db").write_text("This is no database, and long enough for anyone to see that it is none. " * 30)
    with pytest.raises(InputError, match=f"^the MLflow store sqlite:///{prepared}/mlflow.db cannot be used: .+$"):
        connect("classifier")
