"""What a dvc.lock, or the files here, hold of a task. Neither MLflow nor a model is needed for that."""

from pathlib import Path

import pytest
import yaml

from pipeline.inputs import content_md5
from pipeline.revisions import work_tree
from pipeline.tracking.results import result_in_files, result_in_lock
from tests.helpers.project import REPOSITORY

PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train_classifier"]
DATA = {"path": "data/prepared/classifier", "md5": "d.dir"}
MODEL = {"path": "data/models/classifier.keras", "md5": "m"}
STAGES = {
    "download": {"params": {"params.yaml": {"download": {"dataset": "official"}}}},
    "preprocess_classifier": {
        "params": {"params.yaml": {"preprocess.classifier_size": 180}},
        "deps": [{"path": "data/raw/images.tar.gz", "md5": "i"}],
        "outs": [{"path": "data/metrics/preprocess_classifier.json", "md5": "p"}, DATA],
    },
    "train_classifier": {
        "params": {"params.yaml": {"train_classifier": PARAMS}},
        "deps": [DATA, {"path": "pipeline/train.py", "md5": "t"}],
        "outs": [MODEL, {"path": "data/history/classifier.csv", "md5": "h"}],
    },
    "evaluate_classifier": {
        "deps": [MODEL, DATA],
        "outs": [
            {"path": "data/metrics/classifier.json", "md5": "e"},
            {"path": "data/plots/classifier", "md5": "g.dir"},
        ],
    },
}


def test_a_lock_holds_a_training_and_its_evaluation_by_md5() -> None:
    result = result_in_lock("classifier", STAGES)
    assert result.params == PARAMS | {"image_size": 180, "dataset": "official"}
    assert result.training == {"data_md5": "d.dir", "model_md5": "m", "history_md5": "h"}
    assert result.evaluation == {"metrics_md5": "e", "plots_md5": "g.dir"}
    assert result_in_lock("segmenter", STAGES) is None


def test_a_finished_run_is_searched_by_all_three_md5s_of_its_training() -> None:
    assert result_in_lock("classifier", STAGES).condition == (
        "attributes.status = 'FINISHED' and tags.data_md5 = 'd.dir' and tags.model_md5 = 'm' and tags.history_md5 = 'h'"
    )


@pytest.mark.parametrize("stage", ["train_classifier", "preprocess_classifier", "download"])
def test_without_one_of_its_stages_there_is_no_training(stage: str) -> None:
    assert result_in_lock("classifier", {name: entry for name, entry in STAGES.items() if name != stage}) is None


def test_a_training_of_earlier_data_is_none_until_it_is_repeated() -> None:
    prepared = STAGES["preprocess_classifier"] | {"outs": [DATA | {"md5": "newer.dir"}]}
    assert result_in_lock("classifier", STAGES | {"preprocess_classifier": prepared}) is None


@pytest.mark.parametrize("deps", [[], [MODEL | {"md5": "other"}, DATA], [MODEL, DATA | {"md5": "other.dir"}]])
def test_an_evaluation_of_another_checkpoint_or_other_data_is_none(deps: list[dict[str, str]]) -> None:
    result = result_in_lock("classifier", STAGES | {"evaluate_classifier": {"deps": deps, "outs": []}})
    assert (result.training["model_md5"], result.evaluation) == ("m", {})


def test_parameters_of_an_older_revision_are_taken_as_they_are() -> None:
    older = {"epochs": 3, "optimizer": "rmsprop"}
    trained = STAGES["train_classifier"] | {"params": {"params.yaml": {"train_classifier": older}}}
    assert result_in_lock("classifier", STAGES | {"train_classifier": trained}).params == older | {
        "image_size": 180,
        "dataset": "official",
    }


@pytest.mark.parametrize("written", ["1", "1e-05", "1.0e-5"])
def test_a_number_is_what_params_yaml_means_however_dvc_spells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """The run of a training says the same, whether it was written by the training or from dvc.lock."""
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump({"stages": STAGES}).replace("learning_rate: 0.001", f"learning_rate: {written}")
    Path("dvc.lock").write_text(text)
    rate = result_in_lock("classifier", work_tree().stages).params["learning_rate"]
    assert (type(rate), rate) == (float, float(written))


@pytest.mark.parametrize(
    "lock", ["", "stages:", "[]", "stages: {train_classifier: {}, preprocess_classifier: {}}", "{"]
)
def test_a_dvc_lock_of_another_layout_holds_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(lock)
    assert result_in_lock("classifier", work_tree().stages) is None


def test_files_are_named_by_the_md5s_that_dvc_gives_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"data_md5": "data/prepared/classifier", "model_md5": MODEL["path"]}
    files |= {"history_md5": "data/history/classifier.csv"}
    Path(files["data_md5"]).mkdir(parents=True)
    (Path(files["data_md5"]) / "samples.csv").write_text("stem\n")
    for path in (files["model_md5"], files["history_md5"]):
        Path(path).parent.mkdir()
        Path(path).write_text(path)
    expected = {name: content_md5(Path(path)) for name, path in files.items()}
    result = result_in_files("classifier", {"seed": 1}, evaluated=False)
    assert (result.training, result.evaluation) == (expected, {})
