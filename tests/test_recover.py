"""DVC writes dvc.lock and its own locks in place: what a kill damages is repaired, what is whole stays."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.recover import recover
from tests.helpers.project import clone_of, commit_all, init_git, run_in

RWLOCK = Path(".dvc/tmp/rwlock")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one stage that has run; dvc.lock is committed."""
    folder = tmp_path_factory.mktemp("reproduced")
    init_git(folder)
    run_in(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text("stages: {copy: {cmd: cp in out, deps: [in], outs: [out]}}\n")
    (folder / "in").write_text("something")
    run_in(folder, "dvc", "repro")
    commit_all(folder, "all")
    return folder


@pytest.fixture(autouse=True)
def here(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = clone_of(reproduced, tmp_path / "here")
    (folder / ".dvc/tmp/exps").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def held_by(process: int) -> str:
    """The text of an rwlock: a dvc of this number writes the output."""
    return json.dumps({"write": {str(Path("out").resolve()): {"pid": process, "cmd": "dvc repro"}}, "read": {}})


@pytest.mark.parametrize("length", [0, 6, 60], ids=["empty", "YAML", "inside a line"])
def test_a_half_written_lock_file_is_replaced_by_the_committed_one(here: Path, length: int, capsys) -> None:
    path = Path("dvc.lock")
    whole = path.read_text()
    path.write_text(whole[:length])
    assert run_in(here, "dvc", "repro", check=False).returncode != 0
    recover()
    assert path.read_text() == whole
    assert Path("dvc.lock.broken").read_text() == whole[:length], "nothing is lost"
    line = "dvc.lock: broken, kept as dvc.lock.broken; `dvc repro` makes a new one from its run cache\n"
    assert capsys.readouterr().out == line


def test_without_a_committed_one_dvc_makes_it_again_from_its_run_cache(here: Path) -> None:
    run_in(here, "git", "rm", "--quiet", "--cached", "dvc.lock")
    run_in(here, "git", "commit", "--quiet", "--message", "no dvc.lock")
    whole = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(whole[:20])
    recover()
    assert "is cached - skipping run" in run_in(here, "dvc", "repro").stdout
    assert Path("dvc.lock").read_text() == whole


def test_a_merge_conflict_is_no_damage() -> None:
    path = Path("dvc.lock")
    conflict = f"schema: '2.0'\n<<<<<<< HEAD\n=======\n>>>>>>> other\n{path.read_text()}"
    path.write_text(conflict)
    with pytest.raises(InputError, match=r"^dvc.lock: a merge conflict is in it; choose a side, as `git checkout --ou"):
        recover()
    assert path.read_text() == conflict
    assert not Path("dvc.lock.broken").exists()


def test_a_lock_of_a_dvc_that_is_gone_does_not_block_though_another_program_has_its_number(here: Path) -> None:
    Path("in").write_text("something else")
    RWLOCK.write_text(held_by(os.getpid()))
    blocked = run_in(here, "dvc", "repro", check=False)
    assert f"(PID {os.getpid()})" in blocked.stderr, "DVC asks only whether there is a process of this number"
    recover()
    run_in(here, "dvc", "repro")
    assert Path("out").read_text() == "something else"


@pytest.mark.parametrize("path", [RWLOCK, Path(".dvc/tmp/exps/rwlock")], ids=["of stages", "of experiments"])
def test_a_half_written_lock_is_removed(path: Path) -> None:
    path.write_text(held_by(os.getpid())[:-20])
    recover()
    assert not path.exists()


@pytest.fixture
def dvc_at_work() -> Iterator[int]:
    """The number of a process that the system calls `dvc repro`."""
    with subprocess.Popen(["dvc", "60"], executable="/bin/sleep") as process:
        yield process.pid
        process.kill()


def test_a_lock_of_a_dvc_at_work_stays(dvc_at_work: int) -> None:
    RWLOCK.write_text(held_by(dvc_at_work))
    recover()
    assert RWLOCK.read_text() == held_by(dvc_at_work)


def test_what_is_whole_stays(capsys) -> None:
    before = Path("dvc.lock").read_text()
    recover()
    assert Path("dvc.lock").read_text() == before
    assert capsys.readouterr().out == ""


def test_outside_a_repository_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="you are not inside of a DVC repository"):
        recover()
