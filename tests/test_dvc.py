"""dvc.yaml: dependencies are what decides bytes, and an edit reruns the stages that it decides, no other."""

import ast
import json
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from pipeline.tasks import TASKS
from tests.helpers.project import REPOSITORY, run_in

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
# Reading parameters, errors, locks, states and MLflow cannot change a byte of an output. They are in no `deps`.
NAMES = ("errors", "inputs", "params", "paths", "revisions", "stage", "training/housekeeping")
PLUMBING = {f"pipeline/{name}.py" for name in NAMES}
DOWNLOAD = {"pipeline/download.py", "pipeline/data/transfer.py"}  # checksums decide what it leaves


def is_plumbing(module: str) -> bool:
    return module in PLUMBING or module.startswith("pipeline/tracking/")


def imported(modules: list[str]) -> set[str]:
    """The project's modules that these import, directly or not, themselves included, without the plumbing."""
    found, todo = {"pipeline/__init__.py"}, list(modules)
    while todo:
        name = todo.pop()
        if name in found or is_plumbing(name):
            continue
        found.add(name)
        for node in ast.walk(ast.parse((REPOSITORY / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipeline":
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                files = [f"{one.replace('.', '/')}.py" for one in names]
                todo += [file for file in files if (REPOSITORY / file).is_file()]
    return found


def decides(stage: str) -> set[str]:
    """The modules that decide the outputs of a stage: what it imports, and what it imports by name."""
    verb, _, task = stage.partition("_")
    by_name = [f"pipeline/evaluation/{task}.py"] if verb == "evaluate" else []
    return imported([f"pipeline/{verb}.py", *by_name])


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "download"])
def test_the_dependencies_of_a_stage_are_the_modules_that_decide_its_outputs(stage: str) -> None:
    code = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py") and "$" not in dep}
    assert code == decides(stage)
    assert "requirements.txt" in STAGES[stage]["deps"]


@pytest.mark.parametrize("task", TASKS)
def test_a_training_depends_on_the_file_of_its_architecture_which_imports_no_other(task: str) -> None:
    assert f"pipeline/models/{task}/${{train_{task}.architecture}}.py" in STAGES[f"train_{task}"]["deps"]
    for file in (REPOSITORY / "pipeline/models" / task).glob("[!_]*.py"):
        name = str(file.relative_to(REPOSITORY))
        assert imported([name]) <= {name, "pipeline/__init__.py"}


def test_every_stage_says_what_it_does() -> None:
    assert all(stage["desc"] for stage in STAGES.values())


def both(verb: str) -> list[str]:
    return [f"{verb}_{task}" for task in TASKS]


# What an edit makes stale. What depends on a stage reruns only if its outputs then differ.
EDITS = {
    "pipeline/data/embedded.py": ["download"],
    "pipeline/download.py": [],
    "pipeline/preprocess.py": both("preprocess"),
    "pipeline/data/archives.py": both("preprocess"),
    "pipeline/tasks.py": [*both("preprocess"), *both("evaluate"), "plot"],
    "pipeline/models/classifier/residual.py": ["train_classifier"],
    "pipeline/models/classifier/naive.py": [],
    "pipeline/models/segmenter/encoder_decoder.py": ["train_segmenter"],
    "pipeline/models/classifier/another.py": [],
    "pipeline/training/twin.py": both("train"),
    "pipeline/data/augment.py": both("train"),
    "pipeline/data/dataset.py": [*both("train"), *both("evaluate")],
    "pipeline/evaluation/metrics.py": both("evaluate"),
    "pipeline/evaluation/figures.py": both("evaluate"),
    "pipeline/evaluation/segmenter.py": ["evaluate_segmenter"],
    "pipeline/plot.py": ["plot"],
    "pipeline/params.py": [],
    "pipeline/errors.py": [],
    "pipeline/stage.py": [],
    "pipeline/tracking/views.py": [],
    "pipeline/tracking/registry.py": [],
    "pipeline/report.py": [],
    "requirements.txt": [*both("preprocess"), *both("train"), *both("evaluate"), "plot"],
    "requirements-dev.txt": [],
    "README.md": [],
}


@pytest.mark.parametrize("path", EDITS)
def test_an_edit_of_a_file_makes_these_stages_stale(clone: Path, path: str) -> None:
    with (clone / path).open("a") as file:
        file.write("# edited\n")
    assert stale(clone) == set(EDITS[path])


PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
KEYS = [(section, key) for section, keys in PARAMS.items() for key in keys]


def stages_of(section: str, key: str) -> set[str]:
    """The stages that a parameter decides: the section's own; the tasks share most of `preprocess`."""
    if section != "preprocess":
        return {section}
    return {f"preprocess_{task}" for task in TASKS if key in (f"{task}_size", "seed") or "fraction" in key}


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_an_edit_of_a_parameter_makes_its_own_stages_stale(clone: Path, section: str, key: str) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    before = params[section][key]
    others = {"architecture": "naive" if "classifier" in section else "another", "dataset": "official"}
    (clone / "pipeline/models/segmenter/another.py").touch()
    params[section][key] = others.get(key) or (f"{before}x" if isinstance(before, str) else int(before) + 1)
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    assert stale(clone) == stages_of(section, key)


def stale(folder: Path) -> set[str]:
    """The stages of which DVC says that a dependency or a parameter has changed."""
    with Repo(str(folder)) as repo:
        return set(repo.status())


@pytest.fixture(scope="module")
def plots(repository: Path) -> dict[str, dict]:
    """What `dvc plots show` shows, by title."""
    shown = json.loads(run_in(repository, "dvc", "plots", "show", "--json").stdout)["data"]
    return {title: plot[0] for title, plot in shown.items()}


def rows(plot: dict) -> list[dict[str, str]]:
    return plot["content"]["data"]["values"]


def test_every_plot_is_shown(plots: dict[str, dict]) -> None:
    titles = [definition if isinstance(definition, str) else next(iter(definition)) for definition in PIPELINE["plots"]]
    assert list(plots) == titles
    for title, plot in plots.items():
        if title.endswith(".png"):
            assert Path(plot["url"]).read_bytes().startswith(b"\x89PNG"), title
        else:
            assert plot["content"]["title"]["text"] == title
            assert rows(plot), title


@pytest.mark.parametrize("task", TASKS)
def test_curves_over_epochs_show_training_and_validation(plots: dict[str, dict], task: str) -> None:
    fields = [row["field"] for row in rows(plots[f"{task} loss"])]
    assert sorted(fields) == ["loss"] * 3 + ["val_loss"] * 3


def test_the_roc_goes_from_corner_to_corner(plots: dict[str, dict]) -> None:
    names = ("false_positive_rate", "true_positive_rate")
    points = [tuple(float(row[name]) for name in names) for row in rows(plots["classifier ROC"])]
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    assert points == sorted(points)
