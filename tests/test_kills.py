"""A handful of what `python -m benchmarks.kills` does by the dozen: killed at a moment of a stage, then run again."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from benchmarks.kills import Undisturbed, outputs, trial_of


@pytest.mark.parametrize(
    ("stage", "moment", "way"),
    [
        ("preprocess", "arrays are written", "kill -9 of all"),
        ("train_classifier", "a state is written", "kill -9 of dvc"),
        ("plot", "figures are drawn", "Ctrl-C"),
        ("download", "archives are drawn", "SIGTERM to dvc"),
    ],
)
def test_what_was_killed_goes_on_to_the_same_bytes(
    repository: Path, tmp_path: Path, stage: str, moment: str, way: str
) -> None:
    base = tmp_path / "base"
    base.symlink_to(repository)
    expected = Undisturbed(0, {path: md5 for path, md5 in outputs(repository).items() if path != "dvc.lock"})
    done = trial_of(stage, moment, way, 0, base, expected)
    assert done == {"kills": True, "identical ends": True, "after recover": False}
    lock = load_yaml(tmp_path / "trial/dvc.lock")
    assert lock == load_yaml(repository / "dvc.lock"), "but for the order of the stages"
