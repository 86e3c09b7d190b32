"""DVC writes dvc.lock and its own locks in place: what a kill damages is repaired, what is whole stays."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.recover import recover
from tests.helpers.project import run_in, write_params

RWLOCK, LOCK = Path(".dvc/tmp/rwlock"), Path("dvc.lock")
pytestmark = pytest.mark.usefixtures("small_clone")


@pytest.mark.parametrize("length", [0, 6, 75], ids=["empty", "YAML", "inside a line"])
def test_a_half_written_lock_file_is_replaced_by_the_committed_one(length: int, capsys) -> None:
    whole = LOCK.read_text()
    LOCK.write_text(whole[:length])
    recover()
    assert LOCK.read_text() == whole
    assert Path("dvc.lock.broken").read_text() == whole[:length], "nothing is lost"
    line = "dvc.lock: broken, kept as dvc.lock.broken; `dvc repro` makes a new one from its run cache\n"
    assert capsys.readouterr().out == line
    recover()
    assert (LOCK.read_text(), capsys.readouterr().out) == (whole, ""), "what is whole stays"


@pytest.mark.parametrize(
    "lose",
    ["git rm --quiet --cached dvc.lock && git commit --quiet -m gone", "rm -r .git && dvc config core.no_scm true"],
)
def test_without_a_committed_one_dvc_makes_it_again_from_its_run_cache(lose: str) -> None:
    run_in(Path(), "sh", "-c", lose)
    whole = LOCK.read_text()
    LOCK.write_text(whole[:20])
    recover()
    assert "is cached - skipping run" in run_in(Path(), "dvc", "repro").stdout
    assert LOCK.read_text() == whole


def test_where_git_refuses_to_answer_the_broken_file_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    LOCK.write_text("sche")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")
    with pytest.raises(InputError, match=r"^git rev-parse: detected dubious ownership .* --add safe.directory "):
        recover()
    assert LOCK.read_text() == "sche"


def test_a_merge_conflict_is_no_damage() -> None:
    conflict = f"schema: '2.0'\n<<<<<<< HEAD\n=======\n>>>>>>> other\n{LOCK.read_text()}"
    LOCK.write_text(conflict)
    with pytest.raises(InputError, match=r"^dvc.lock: a merge conflict is in it; choose a side, as `git checkout --ou"):
        recover()
    assert LOCK.read_text() == conflict


def test_a_lock_of_a_dvc_that_is_gone_does_not_block_though_another_program_has_its_number() -> None:
    Path("pipeline/code.py").write_text("something else")
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    RWLOCK.write_text(json.dumps({"write": {str(Path("data/out").resolve()): holder}, "read": {}}))
    assert f"(PID {os.getpid()})" in run_in(Path(), "dvc", "repro", check=False).stderr, "DVC only asks for the number"
    recover()
    run_in(Path(), "dvc", "repro")
    assert Path("data/out").read_text() == "something else"


def test_while_a_dvc_works_here_its_locks_and_folders_stay(capsys) -> None:
    experiment = Path(".dvc/tmp/exps/standalone/tmp1/data")  # as `dvc exp run --temp` leaves it if it is killed
    experiment.mkdir(parents=True)
    kept = [RWLOCK, Path(".dvc/tmp/exps/rwlock"), experiment / "out"]
    for path in kept:
        path.write_text("{")
    shell = {"executable": "/bin/sh", "cwd": experiment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["dvc", "-c", "echo; read _"], **shell) as dvc:  # a shell, which the system calls dvc
        dvc.stdout.readline()  # it has this name from here on
        recover()
        dvc.kill()
    assert all(path.exists() for path in kept)
    assert capsys.readouterr().out == "a dvc works here: its files stay as they are\n"
    recover()
    assert not any(path.exists() for path in kept)


def test_parameters_are_checked_before_dvc_looks_for_the_file_of_an_architecture() -> None:
    write_params(Path(), train_classifier={"architecture": "vgg"})
    with pytest.raises(InputError, match=r"^params.yaml: train_classifier.architecture: 'vgg': should be 'mini_xcep"):
        recover()


def test_outside_a_clone_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^.dvc: no such folder in {tmp_path}; run in the root of a clone$"):
        recover()
