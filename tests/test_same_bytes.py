"""What may not matter to the bytes, varied all at once. `python -m benchmarks.same_bytes` takes it one by one."""

import os
from pathlib import Path

import pytest

from tests.helpers.project import run_in
from tests.test_environment import HARMLESS

NAME = "a b & c"  # DVC itself fails at other letters than ASCII's where PYTHONUTF8 is 0


def settings_of_a_user(folder: Path) -> dict[str, str]:
    """Files by which Keras and Matplotlib would train and draw otherwise, as the environment names them."""
    folder.mkdir()
    (folder / "keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    (folder / "matplotlibrc").write_text("figure.facecolor: red\nlines.linewidth: 9\n")
    dvc = {"PYTHONWARNINGS": ""}  # at others' warnings DVC itself ends
    return HARMLESS | dvc | {"KERAS_HOME": str(folder), "MATPLOTLIBRC": str(folder), "HOME": "/nowhere"}


@pytest.mark.slow
def test_where_when_and_by_whom_it_runs_does_not_matter(repository: Path, tmp_path: Path) -> None:
    """A clone of what was committed has no cache: all stages run again."""
    run_in(tmp_path, "git", "clone", "--quiet", str(repository), NAME)
    folder = tmp_path / NAME
    run_in(
        folder,
        *("sh", "-c", 'umask 077; exec taskset --cpu-list 0 faketime "2031-02-03 04:05:06" "$@"', "sh"),
        *("dvc", "repro"),
        **settings_of_a_user(tmp_path / "settings")
        | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}  # text is ASCII where no encoding is named
        | {"TZ": "Pacific/Chatham", "PYTHONHASHSEED": "1"},
        # The one thing that does matter: sums are split by threads, on one core as on all.
        TF_NUM_INTRAOP_THREADS=os.environ.get("TF_NUM_INTRAOP_THREADS", str(len(os.sched_getaffinity(0)))),
    )
    assert run_in(folder, "git", "diff", "--name-only", "HEAD").stdout == "", "dvc.lock and metrics are the same"
