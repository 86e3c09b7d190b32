"""What a dvc.lock holds of a task. Neither MLflow nor a model is needed for that."""

import pytest
import yaml

from pipeline.tracking.results import result_in_lock
from tests.helpers.project import REPOSITORY

PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train_classifier"]
DATA = {"path": "data/prepared/classifier", "md5": "d.dir"}
MODEL = {"path": "data/models/classifier.keras", "md5": "m"}
STAGES = {
    "download": {"params": {"params.yaml": {"download": {"dataset": "official"}}}},
    "preprocess_classifier": {
        "params": {"params.yaml": {"preprocess.classifier_size": 180}},
        "deps": [{"path": "data/raw/images.tar.gz", "md5": "i"}],
        "outs": [{"path": "data/metrics/counts_classifier.json", "md5": "p"}, DATA],
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


@pytest.mark.parametrize(
    ("stage", "entry"),
    [
        ("train_classifier", None),
        ("preprocess_classifier", {}),
        ("download", {"cmd": "of another layout"}),
        ("preprocess_classifier", STAGES["preprocess_classifier"] | {"outs": [DATA | {"md5": "newer.dir"}]}),
    ],
    ids=["no training", "no preparation", "another layout", "earlier data"],
)
def test_a_lock_without_a_whole_training_of_the_present_data_holds_none(stage: str, entry: dict | None) -> None:
    stages = {name: found for name, found in (STAGES | {stage: entry}).items() if found is not None}
    assert result_in_lock("classifier", stages) is None


@pytest.mark.parametrize("deps", [[], [MODEL | {"md5": "other"}, DATA], [MODEL, DATA | {"md5": "other.dir"}]])
def test_an_evaluation_of_another_checkpoint_or_other_data_is_none(deps: list[dict[str, str]]) -> None:
    result = result_in_lock("classifier", STAGES | {"evaluate_classifier": {"deps": deps, "outs": []}})
    assert (result.training["model_md5"], result.evaluation) == ("m", {})
