"""What may not matter to the bytes, varied all at once. `python -m benchmarks.same_bytes` takes it one by one."""

import os
import sys
from pathlib import Path

from tests.helpers.project import clone_of, commit_all, run_in

TAMPERED = "data/metrics/classifier.json"


def settings_of_a_user(folder: Path) -> dict[str, str]:
    """Files by which Keras and Matplotlib would train and draw otherwise, as the environment names them."""
    folder.mkdir()
    (folder / "keras.json").write_text('{"floatx": "float64", "image_data_format": "channels_first"}')
    (folder / "matplotlibrc").write_text("figure.facecolor: red\nlines.linewidth: 9\n")
    return {"KERAS_HOME": str(folder), "MATPLOTLIBRC": str(folder), "KERAS_MAX_EPOCHS": "1"}


def test_where_when_and_by_whom_it_runs_does_not_matter(repository: Path, tmp_path: Path) -> None:
    folder = clone_of(repository, tmp_path / "Füße und mehr")
    metrics = folder / TAMPERED
    metrics.write_text(metrics.read_text().replace('"accuracy": 0.', '"accuracy": 1.', 1))
    commit_all(folder, "a figure that nobody measured")
    cached = set((folder / ".dvc/cache").rglob("*"))
    (tmp_path / "temporary").mkdir()

    done = run_in(
        folder,
        *("sh", "-c", 'umask 077; exec taskset --cpu-list 0 faketime "2031-02-03 04:05:06" "$@"', "sh"),
        *(sys.executable, "-m", "pipeline.verify", "main"),
        check=False,
        TMPDIR=str(tmp_path / "temporary"),
        LC_ALL="C",
        PYTHONCOERCECLOCALE="0",
        PYTHONUTF8="0",  # text is ASCII where no encoding is named
        TZ="Pacific/Chatham",
        PYTHONHASHSEED="1",
        MLFLOW_TRACKING_URI="sqlite:////nowhere/mlflow.db",
        **settings_of_a_user(tmp_path / "settings"),
        # The one thing that does matter: sums are split by threads, on one core as on all.
        TF_NUM_INTRAOP_THREADS=os.environ.get("TF_NUM_INTRAOP_THREADS", str(len(os.sched_getaffinity(0)))),
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("differs")] == [f"differs    {TAMPERED}"], done.stderr
    header, row = lines[lines.index(f"differs    {TAMPERED}") + 1 :][:2]
    assert header.split() == ["there", "here", "difference"]
    assert (row.split()[0], float(row.split()[3])) == ("accuracy", -1)
    assert lines[-1] == "main: 17 of 18 outputs are identical"
    assert done.returncode == 1

    assert run_in(folder, "git", "status", "--porcelain").stdout == ""
    assert set((folder / ".dvc/cache").rglob("*")) == cached
    assert not (folder / "mlflow.db").exists()
    assert list((tmp_path / "temporary").iterdir()) == []
