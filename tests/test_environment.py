"""What the user's environment holds, and which Python starts a program: it works the same, or there is one line."""

import ast
import sys
from pathlib import Path

import pytest

from pipeline.plot import plot
from pipeline.tasks import TASKS
from tests.helpers.project import REPOSITORY, make_repository, run_in, write_params
from tests.helpers.training import write_outputs

# Many of these ended a program in a traceback, or changed its bytes. Jupyter and Colab set the MPLBACKEND.
SETTINGS = """
    COLUMNS=0 NO_COLOR=1 PYTHONWARNINGS=error TMPDIR=/nowhere TZ=Nowhere/Nonsense
    CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 XLA_FLAGS=--nonsense
    GIT_DIR=/nowhere GIT_INDEX_FILE=/nowhere/index MPLBACKEND=module://matplotlib_inline.backend_inline
    KERAS_MAX_EPOCHS=1 KERAS_NNX_ENABLED=true TF_USE_LEGACY_KERAS=1 TF_XLA_FLAGS=--nonsense TF_ENABLE_ONEDNN_OPTS=0
    TF_CONFIG={"cluster":{"worker":["a:1","b:1"]}} TF_FORCE_GPU_ALLOW_GROWTH=maybe TF_FUNCTION_JIT_COMPILE_DEFAULT=1
    MLFLOW_ACTIVE_MODEL_ID=m-0 MLFLOW_EXPERIMENT_ID=77 MLFLOW_EXPERIMENT_NAME=mine MLFLOW_RUN_ID=0
"""
HARMLESS = dict(setting.split("=", 1) for setting in SETTINGS.split())
NOISE = "I0000 00:00:17.1 22 port.cc:153] oneDNN custom operations are on. You may see\n"


def started(code: str, *options: str, before: str = "", **variables: str) -> tuple[int, str]:
    """Exit status and stderr of a program of this package, which does this after it has imported the package."""
    begins = "import os, sys; sys.argv[0], sys.orig_argv = '-m', ['-m', 'pipeline.train']"
    code = f"{begins}; {before or 0}; import pipeline; {code}"
    done = run_in(REPOSITORY, sys.executable, *options, "-c", code, check=False, **variables)
    return done.returncode, done.stderr


def test_plots_are_the_same_bytes_under_all_variables_and_the_project_goes_before_a_package_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    Path("pipeline").symlink_to(REPOSITORY / "pipeline")
    Path("shadow/pipeline").mkdir(parents=True)
    Path("shadow/pipeline/__init__.py").write_text("raise ValueError")
    for task in TASKS:
        write_outputs(task)
    plot()
    picture = Path("data/plots/curves/classifier.png")
    drawn = picture.read_bytes()
    picture.unlink()
    done = run_in(tmp_path, sys.executable, "-m", "pipeline.plot", **HARMLESS, PYTHONPATH=str(tmp_path / "shadow"))
    assert (done.stderr, picture.read_bytes()) == ("", drawn)


def test_a_python_that_is_old_or_lacks_packages_is_one_line_and_a_fault_of_the_project_a_traceback() -> None:
    status, said = started("import keras", "-S")
    remedy = "`make .venv/installed` installs what is needed, `source .venv/bin/activate` chooses it"
    assert (status, said) == (1, f"-m: no package keras in {sys.executable}; {remedy}\n")
    assert started("import pipeline.nothing")[1].startswith("Traceback")
    assert started("raise KeyboardInterrupt") == (-2, "-m: interrupted\n")
    for name in ("__init__", "start"):  # what any Python that people still have must be able to read
        ast.parse((REPOSITORY / f"pipeline/{name}.py").read_text(), feature_version=(3, 6))
    status, said = started("", before="sys.version_info = (3, 9, 18)")
    assert status == 1
    assert said.startswith(f"Python 3.11 to 3.13 is needed, {sys.executable} is ")


def test_noise_of_tensorflow_s_import_is_left_out_and_nothing_else_even_if_it_crashes(tmp_path: Path) -> None:
    place, code = {"PYTHONPATH": str(tmp_path)}, "import tensorflow; os.write(2, b'after')"
    said = f"{NOISE}not known\n"
    for ending, seen in (("", (0, "after")), ("os.abort()", (-6, "")), ("sys.exit('no AVX')", (1, "no AVX\n"))):
        (tmp_path / "tensorflow.py").write_text(f"import os, sys; os.write(2, {said.encode()}); {ending}")
        assert started(code, **place) == (seen[0], f"not known\n{seen[1]}")
        assert started(code, **place, TF_CPP_MIN_LOG_LEVEL="0") == (seen[0], f"{said}{seen[1]}")


def test_a_clone_has_the_committed_line_ends_whatever_git_is_told(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    make_repository(tmp_path / "here")
    run_in(tmp_path, "git", "-c", "core.autocrlf=true", "clone", "--quiet", "here", "there")
    ends = [line.split()[1] for line in run_in(tmp_path / "there", "git", "ls-files", "--eol").stdout.splitlines()]
    assert {*ends} == {"w/lf", "w/none", "w/-text"}


@pytest.mark.slow
def test_the_tensorflow_that_is_installed_prints_no_other_noise() -> None:
    assert started("import keras") == (0, "")
