"""DVC writes dvc.lock and its own locks in place: what a kill leaves of them is mended, what is whole stays."""

import json
import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.errors import InputError
from pipeline.recover import recover
from tests.helpers.project import commit_all, run_in

RWLOCK = Path(".dvc/tmp/rwlock")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one stage that has run; dvc.lock is committed."""
    folder = tmp_path_factory.mktemp("reproduced")
    run_in(folder, "git", "init", "--quiet")
    run_in(folder, "git", "config", "user.name", "test")
    run_in(folder, "git", "config", "user.email", "test@example.org")
    run_in(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text("stages: {copy: {cmd: cp in out, deps: [in], outs: [out]}}\n")
    (folder / "in").write_text("something")
    run_in(folder, "dvc", "repro")
    commit_all(folder, "all")
    return folder


@pytest.fixture(autouse=True)
def here(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(reproduced, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def hold(pid: int, command: str) -> None:
    """The output is being written by this process, as DVC notes it."""
    held = {"write": {str(Path("out").resolve()): {"pid": pid, "cmd": command}}, "read": {}}
    RWLOCK.write_text(json.dumps(held))


def own_command() -> str:
    return " ".join(psutil.Process().cmdline())


@pytest.mark.parametrize("end", ["schema", "hash: md5"], ids=["empty", "cut inside a line"])
def test_a_half_written_lock_file_is_replaced_by_the_committed_one(end: str, capsys) -> None:
    path = Path("dvc.lock")
    whole = path.read_text()
    half = whole[: whole.index(end) and whole.index(end) + 2]
    path.write_text(half)
    recover()
    assert path.read_text() == whole
    assert Path("dvc.lock.broken").read_text() == half, "nothing is lost"
    line = "dvc.lock: broken, kept as dvc.lock.broken; `dvc repro` makes a new one from its run cache\n"
    assert capsys.readouterr().out == line


def test_without_a_committed_one_dvc_makes_it_again_from_its_run_cache(here: Path) -> None:
    run_in(here, "git", "rm", "--quiet", "--cached", "dvc.lock")
    run_in(here, "git", "commit", "--quiet", "--message", "no dvc.lock")
    whole = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(whole[:20])
    assert run_in(here, "dvc", "repro", check=False).returncode != 0
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
    hold(os.getpid(), "/usr/bin/dvc repro --no-such-option")
    blocked = run_in(here, "dvc", "repro", check=False)
    assert blocked.returncode != 0
    assert f"(PID {os.getpid()})" in blocked.stderr, "DVC asks only whether there is a process of this number"
    recover()
    run_in(here, "dvc", "repro")
    assert Path("out").read_text() == "something else"


@pytest.mark.parametrize("path", [RWLOCK, Path(".dvc/tmp/exps/rwlock")], ids=["of stages", "of experiments"])
def test_a_half_written_lock_is_removed(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"write": {')
    recover()
    assert not path.exists()


def test_of_several_locks_those_of_processes_at_work_stay() -> None:
    at_work = {"pid": os.getpid(), "cmd": own_command().removeprefix(f"{sys.executable} ")}
    gone = {"pid": 1, "cmd": "/usr/bin/dvc repro"}  # another program has its number
    lock = {"write": {"/a": gone, "/b": at_work}, "read": {"/c": [gone, at_work], "/d": [gone]}}
    RWLOCK.write_text(json.dumps(lock))
    recover()
    assert json.loads(RWLOCK.read_text()) == {"write": {"/b": at_work}, "read": {"/c": [at_work]}}


def test_a_lock_of_a_process_that_this_user_may_not_look_at_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: psutil.Process) -> list[str]:
        raise psutil.AccessDenied(process.pid)  # as on macOS; Linux shows everyone's

    monkeypatch.setattr(psutil.Process, "cmdline", refuse)
    hold(os.getpid(), "/usr/bin/dvc repro")
    held = RWLOCK.read_text()
    recover()
    assert RWLOCK.read_text() == held


def test_what_is_whole_stays(capsys) -> None:
    RWLOCK.unlink(missing_ok=True)
    before = Path("dvc.lock").read_text()
    recover()
    assert Path("dvc.lock").read_text() == before
    assert capsys.readouterr().out == ""


def test_outside_a_repository_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="you are not inside of a DVC repository"):
        recover()
