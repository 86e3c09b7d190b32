"""A handful of what `python -m benchmarks.kills` does by the dozen: killed at a moment of a stage, then run again."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from benchmarks.endings import outputs
from benchmarks.kills import Trial, run_trial


@pytest.mark.slow
@pytest.mark.parametrize(
    "trial",
    [
        Trial("preprocess_classifier", "arrays are written", "kill -9 of all", 0, is_locked=False),
        Trial("train_classifier", "MLflow gets the checkpoint", "kill -9 of dvc", 0, is_locked=True),
        Trial("plot", "plots are drawn", "Ctrl-C", 0, is_locked=True),
        Trial("download", "archives are drawn", "SIGTERM to dvc", 0, is_locked=False),
    ],
    ids=str,
)
def test_what_was_killed_goes_on_to_the_same_bytes(repository: Path, tmp_path: Path, trial: Trial) -> None:
    expected, folder = outputs(repository), tmp_path / "trial"
    if not trial.is_locked:
        del expected["dvc.lock"]  # but for the order of the stages in it, see below
    done = run_trial(trial, repository, folder, expected)
    assert done == {"kills": True, "identical ends": True, "faults": False, "after recover": False}
    assert load_yaml(folder / "dvc.lock") == load_yaml(repository / "dvc.lock")
