"""How a stage ends, run as a program: its exit status, its one line, its lock; by real processes and real signals."""

import signal
import subprocess
import sys

import pytest

from pipeline import stage
from tests.helpers.project import REPOSITORY, environment

WAIT = "import time; print('at work', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(task: str) -> None:
    """A stage that has no work."""


def start(work: str, *, task: str = "segmenter", arguments: tuple[str, ...] = ()) -> subprocess.Popen:
    """A program whose stage `train` does this work, a line of Python, for a task."""
    imports = "import sys, time\nfrom pipeline.errors import *\nfrom pipeline.stage import *"
    program = f"{imports}\ndef train(task):\n    {work}\nrun(train, {task})\n"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment() | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ending(work: str, task: str = "'segmenter'") -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    return ended(start(work, task=task))


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.fixture
def at_work():
    """A stage that has begun and does not end by itself."""
    process = start(WAIT, task="'segmenter'")
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.communicate()


def test_a_stage_that_is_done_exits_0_and_adds_no_word():
    assert ending("print(task)") == (0, "segmenter\n", "")


def test_bad_input_is_one_line_that_names_the_stage():
    line = "train_segmenter: params.yaml: plot: missing\n"
    assert ending("raise InputError('params.yaml: plot: missing')") == (1, "", line)


@pytest.mark.parametrize(
    ("work", "line"),
    [
        ("open('data/nothing.csv')", "No such file or directory: data/nothing.csv"),
        ("open('data')", "Is a directory: data"),
        ("open('/proc/version/x')", "Not a directory: /proc/version/x"),
    ],
)
def test_what_the_system_refuses_is_one_line_that_names_the_file(work, line):
    assert ending(work) == (1, "", f"train_segmenter: {line}\n")


def test_what_the_system_refuses_without_a_name_is_still_one_line():
    status, out, err = ending("raise OSError('two\\nlines')")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("train_segmenter: two")


def test_a_fault_of_the_program_keeps_its_traceback():
    status, _, err = ending("task.no_such_method()")
    assert status == 1
    assert err.startswith("Traceback")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_exits_130_with_one_line(at_work, sent):
    at_work.send_signal(sent)
    assert ended(at_work) == (130, "", "train_segmenter: interrupted\n")


@pytest.mark.parametrize(("started_as", "before"), [("-m", "False"), ("a server", "True")])
def test_garbage_is_collected_while_a_stage_works_and_always_in_a_process_that_imports_the_package(started_as, before):
    begin = f"import gc, sys; sys.argv[0] = {started_as!r}; import pipeline; print(gc.isenabled())"
    work = "from pipeline.stage import program\nwith program('train'): print(gc.isenabled())"
    path = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", f"{begin}\n{work}"], env=environment() | path, capture_output=True)
    assert done.stdout.decode().split() == [before, "True"]


def test_an_interrupted_stage_unwinds():
    process = start("\n    ".join(["try: " + WAIT, "finally: print('put away')"]), task="'segmenter'")
    assert process.stdout.readline() == "at work\n"
    process.terminate()
    assert ended(process) == (130, "put away\n", "train_segmenter: interrupted\n")


def test_a_second_process_at_the_same_stage_waits_for_the_first_to_end(at_work):
    second = start("print('done')", task="'segmenter'")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=2)
    at_work.kill()
    assert ended(second) == (0, "done\n", "")


def test_a_second_process_is_sent_away_by_a_first_that_does_not_end(at_work, monkeypatch):
    monkeypatch.setattr(stage, "LOCK_TIMEOUT", 0.1)
    line = "train_segmenter: another train_segmenter is running in this folder; wait for it, then run again"
    with pytest.raises(SystemExit, match=line):
        stage.run(train, "segmenter")
    assert at_work.poll() is None


def test_a_stage_ends_when_the_dvc_that_started_it_was_killed():
    child = f"import sys\nfrom pipeline.stage import *\ndef train(task):\n    {WAIT}\nrun(train, 'segmenter')"
    dvc = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])", child],
        env=environment() | {"PYTHONPATH": str(REPOSITORY), "DVC_STAGE": "train_segmenter"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert dvc.stdout.readline() == "at work\n"
    dvc.kill()
    _, err = dvc.communicate(timeout=30)  # until the stage closes its end, too
    assert err == "train_segmenter: interrupted\n"
    assert ending("print('done')") == (0, "done\n", "")


def test_another_stage_may_work_at_the_same_time(at_work):
    assert ending("print('done')", task="'classifier'") == (0, "done\n", "")


def test_the_same_stage_may_work_in_another_folder(at_work, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ending("print('done')") == (0, "done\n", "")


def test_a_killed_stage_locks_nobody_out(at_work):
    at_work.kill()
    at_work.wait()
    assert ending("print('done')") == (0, "done\n", "")


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_the_task_is_the_argument(task):
    assert ended(start("print(task)", task="task_argument()", arguments=(task,))) == (0, f"{task}\n", "")


@pytest.mark.parametrize("arguments", [(), ("painter",), ("segmenter", "classifier")])
def test_a_wrong_or_missing_task_is_answered_with_the_usage(arguments):
    status, out, err = ended(start("print(task)", task="task_argument()", arguments=arguments))
    assert (status, out) == (2, "")
    usage, error = err.splitlines()
    assert usage.endswith("{segmenter,classifier}")
    assert ": error: " in error
