"""How a stage ends, run as a program: its exit status, its one line, its lock; by real processes and real signals."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import stage
from pipeline.errors import InputError
from tests.helpers.project import REPOSITORY, environment

WAIT = "print('at work', flush=True); time.sleep(60)"
INTERRUPTED = "train_segmenter: interrupted\n"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ending(work: Callable[[], object] | Exception) -> str | int | None:
    """The line that the stage `train` of the segmenter ends with, and exit status 1, in this process."""

    def train(task: str) -> None:
        if isinstance(work, Exception):
            raise work
        work()

    with pytest.raises(SystemExit) as ended:
        stage.run(train, "segmenter")
    return ended.value.code


def spawn(*command: str, **variables: str) -> subprocess.Popen:
    around = environment() | {"PYTHONPATH": str(REPOSITORY)} | variables
    return subprocess.Popen(command, env=around, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def program(work: str, task: str = "'segmenter'") -> list[str]:
    """The command of a stage `train` that does this work, a line of Python."""
    lines = ["import time", "from pipeline.stage import *", "def train(task):", f"    {work}", f"run(train, {task})"]
    return [sys.executable, "-c", "\n".join(lines)]


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.fixture
def at_work() -> Iterator[subprocess.Popen]:
    """A stage that has begun and does not end by itself."""
    process = spawn(*program(f"try: {WAIT}\n    finally: print('put away')"))
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("work", "line"),
    [
        (InputError("params.yaml: plot: missing"), "params.yaml: plot: missing"),
        (lambda: Path("data/nothing\n.csv").read_text(), r"data/nothing\n.csv: No such file or directory"),
        (OSError("two\nlines of http://me:secret@host"), "{here}: two lines of http://host"),
    ],
    ids=["bad input", "no file", "no name"],
)
def test_bad_input_and_what_the_system_refuses_is_one_line_that_names_the_stage(work, line: str) -> None:
    assert ending(work) == f"train_segmenter: {line}".format(here=Path.cwd())
    with pytest.raises(ZeroDivisionError):  # a fault of the program keeps its traceback
        ending(lambda: 1 / 0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_unwinds_and_exits_130_with_one_line(at_work: subprocess.Popen, sent) -> None:
    at_work.send_signal(sent)
    assert ended(at_work) == (130, "put away\n", INTERRUPTED)


def test_a_second_process_waits_for_the_first_which_locks_nobody_out_when_it_is_killed(at_work, monkeypatch) -> None:
    monkeypatch.setattr(stage, "LOCK_TIMEOUT", 0.1)
    line = "train_segmenter: another train_segmenter is running; wait for it, then run again"
    assert ending(lambda: None) == line
    second = spawn(*program("print('done')"))
    other = spawn(*program("print('done')", task="'classifier'"))
    assert ended(other) == (0, "done\n", ""), "another stage may work at the same time"
    assert second.stderr.readline() == "train_segmenter: another one is running; waiting up to 150 s for it\n"
    at_work.kill()
    assert ended(second) == (0, "done\n", "")


def test_a_stage_ends_when_the_dvc_that_started_it_was_killed() -> None:
    runs_it = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    dvc = spawn(sys.executable, "-c", runs_it, *program(WAIT), DVC_STAGE="train_segmenter")
    assert dvc.stdout.readline() == "at work\n"
    dvc.kill()
    _, err = dvc.communicate(timeout=30)  # until the stage closes its end, too
    assert err == INTERRUPTED


@pytest.mark.parametrize(("started_as", "before"), [("pipeline.train", "False"), ("a.server", "True")])
def test_garbage_is_collected_while_a_stage_works_and_always_in_a_process_that_imports_the_package(started_as, before):
    arguments = f"sys.argv[0], sys.orig_argv = '-m', ['python', '-m', {started_as!r}]"
    begin = f"import gc, sys; {arguments}; import pipeline; print(gc.isenabled())"
    work = "from pipeline.stage import program\nwith program('train'): print(gc.isenabled())"
    assert ended(spawn(sys.executable, "-c", f"{begin}\n{work}")) == (0, f"{before}\nTrue\n", "")


def test_the_task_is_the_argument_and_a_wrong_or_missing_one_is_answered_with_the_usage(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "segmenter"])
    assert stage.task_argument() == "segmenter"
    for wrong in ((), ("painter",), ("segmenter", "classifier")):
        monkeypatch.setattr(sys, "argv", ["train", *wrong])
        with pytest.raises(SystemExit, match="2"):
            stage.task_argument()
        usage, error = capsys.readouterr().err.splitlines()
        assert usage.endswith("{segmenter,classifier}")
        assert ": error: " in error
