"""Verify: what it says of outputs that differ, of packages, archives and bad input. A whole run: test_same_bytes.py."""

import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipeline.stage import InputError
from pipeline.tracking.revisions import Revision, revision
from pipeline.verify import archives, other_packages, report, verify
from tests.disks import small_disk
from tests.project import clone_of, commit_all, environment

METRICS = "data/metrics/training.json"


@pytest.fixture
def head(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Revision:
    """The commit of the repository's outputs, which is the working directory."""
    monkeypatch.chdir(repository)
    return revision("HEAD")


@pytest.fixture
def rerun(repository: Path, tmp_path: Path) -> Path:
    """What a rerun leaves that gave the same: dvc.lock and metrics."""
    for path in ("dvc.lock", METRICS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / path, tmp_path / path)
    return tmp_path


def lock_another(folder: Path, path: str) -> None:
    """Give an output another md5 in dvc.lock."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    (out,) = [out for stage in lock["stages"].values() for out in stage["outs"] if out["path"] == path]
    out["md5"] = "0" * 32
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def test_outputs_that_are_what_dvc_lock_names_are_identical(head, rerun, capsys):
    assert report(head, rerun) is True
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["identical"] * 18
    assert summary == "HEAD: 18 of 18 outputs are identical"


def test_an_output_that_differs_is_named(head, rerun, capsys):
    lock_another(rerun, "data/plots/curves")
    assert report(head, rerun) is False
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "differs    data/plots/curves",
        "HEAD: 17 of 18 outputs are identical",
    ]


def test_metrics_that_differ_are_shown_with_both_values_and_the_difference(head, rerun, capsys):
    text = (rerun / METRICS).read_text()
    (rerun / METRICS).write_text(text.replace('"epochs": 3', '"epochs": 5', 1))  # the segmenter's
    lock_another(rerun, METRICS)
    assert report(head, rerun) is False
    shown = capsys.readouterr().out
    assert re.search(rf"differs    {METRICS}\n +there +here +difference\nsegmenter.epochs +3 +5 +2\nidentical ", shown)


def test_packages_in_other_versions_than_pinned_are_named(tmp_path):
    installed = {name: pd.__version__ if name == "pandas" else yaml.__version__ for name in ("pandas", "pyyaml")}
    pins = tmp_path / "requirements.txt"
    pins.write_text(f"# made\npandas=={installed['pandas']}\n    # via x\npyyaml==1.0\nno-such-package==1\n")
    assert other_packages(pins) == f"packages: pyyaml {installed['pyyaml']} instead of ==1.0"
    pins.write_text("pandas==0.1 ; python_version < '3'\n")  # not for this Python
    assert other_packages(pins) == "packages: as pinned"


def official(found: Revision) -> Revision:
    """The same, as if its archives were the official ones."""
    stages = yaml.safe_load(yaml.safe_dump(found.stages))
    stages["download"]["params"]["params.yaml"]["download"]["dataset"] = "official"
    return replace(found, stages=stages)


def test_official_archives_come_from_dvc(head, tmp_path):
    source = Path(archives(official(head), tmp_path))
    assert {path.name for path in source.iterdir()} == {"images.tar.gz", "annotations.tar.gz"}


def test_official_archives_that_dvc_has_no_more_come_from_where_the_download_gets_them(
    repository, tmp_path, monkeypatch, capsys
):
    folder = clone_of(repository, tmp_path / "clone")
    shutil.rmtree(folder / ".dvc/cache")
    monkeypatch.chdir(folder)
    assert archives(official(revision("HEAD")), tmp_path) == ""
    assert "data/raw/annotations.tar.gz is neither in DVC's cache nor in a remote" in capsys.readouterr().out
    monkeypatch.setenv("PETS_SOURCE", "../pets")
    assert archives(official(revision("HEAD")), tmp_path) == f"{folder}/../pets"
    monkeypatch.setenv("PETS_SOURCE", "https://example.org/pets")
    assert archives(official(revision("HEAD")), tmp_path) == "https://example.org/pets"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("v7", "v7: no commit, branch, tag or experiment of this repository"),
        ("HEAD~1", "HEAD~1: no dvc.lock with download, preprocess_segmenter, preprocess_classifier, train_segmenter, "),
    ],
)
def test_a_revision_without_outputs_is_one_line(head, name, line):
    with pytest.raises(InputError, match=f"^{line}"):
        verify(name)


@pytest.mark.parametrize("text", [None, "", "stages:\n  - x", "no: stages", "{"])
def test_a_revision_of_another_layout_is_one_line(repository, tmp_path, monkeypatch, text):
    folder = clone_of(repository, tmp_path / "clone")
    (folder / "dvc.yaml").unlink() if text is None else (folder / "dvc.yaml").write_text(text)
    commit_all(folder, "another layout")
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"^HEAD: no (dvc.yaml with stages|dvc.lock with x) in it"):
        verify("HEAD")


def test_a_clone_that_cannot_be_made_is_one_line(head, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with small_disk(tmp_path, 64), pytest.raises(InputError, match=r"^HEAD: git clone .*: .*No space left on device"):
        verify("HEAD")


@pytest.fixture
def process(repository: Path, tmp_path: Path):
    """Verify a commit whose first stage fails; its temporary folder is `temporary`."""
    folder, temporary = clone_of(repository, tmp_path / "clone"), tmp_path / "temporary"
    temporary.mkdir()
    (folder / "params.yaml").write_text((folder / "params.yaml").read_text().replace("patience: 5", "patience: 0"))
    commit_all(folder, "a parameter out of range")
    started = subprocess.Popen(
        [sys.executable, "-um", "pipeline.verify"],
        cwd=folder,
        env=environment() | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.communicate()


def test_a_stage_that_fails_is_shown_and_named_in_the_last_line(process, tmp_path):
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "download: params.yaml: plot.patience: 0: should be greater than or equal to 1" in errors
    assert errors.splitlines()[-1] == "verify: a stage failed, see above"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_interrupted_it_leaves_nothing_behind(process, tmp_path):
    for line in process.stdout:
        if line.startswith("Running stage"):
            process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert (process.returncode, errors.splitlines()[-1]) == (130, "verify: interrupted")
    assert list((tmp_path / "temporary").iterdir()) == []
