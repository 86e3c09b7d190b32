"""dvc.yaml: dependencies are what decides bytes, and an edit reruns the stages that it decides, no other."""

import ast
import json
from pathlib import Path

import pytest
import yaml
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from playwright.sync_api import Browser, expect

from pipeline.revisions import experiments
from pipeline.tasks import TASKS
from tests.helpers.project import REPOSITORY, run_in

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
# Reading parameters, errors, locks, states and MLflow cannot change a byte of an output. They are in no `deps`.
NAMES = ("errors", "inputs", "params", "paths", "revisions", "stage", "start", "training/housekeeping")
PLUMBING = {f"pipeline/{name}.py" for name in NAMES}


def imported(modules: list[str]) -> set[str]:
    """The project's modules that these import, directly or not, themselves included, without the plumbing."""
    found, todo = {"pipeline/__init__.py"}, list(modules)
    while todo:
        name = todo.pop()
        if name in found | PLUMBING or name.startswith("pipeline/tracking/"):
            continue
        found.add(name)
        for node in ast.walk(ast.parse((REPOSITORY / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipeline":
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                files = [f"{one.replace('.', '/')}.py" for one in names]
                todo += [file for file in files if (REPOSITORY / file).is_file()]
    return found


@pytest.fixture(scope="module")
def decides() -> dict[str, set[str]]:
    """What decides each stage, as DVC reads dvc.yaml: files, sections and keys of params.yaml."""
    with Repo(str(REPOSITORY)) as repo:
        return {
            stage.name: {
                name
                for dep in stage.deps
                for name in (dep.params if isinstance(dep, ParamsDependency) else [dep.def_path])
            }
            for stage in repo.index.stages
        }


def test_the_dependencies_of_a_stage_are_the_modules_that_decide_its_outputs(decides) -> None:
    for stage in decides.keys() - {"download"}:  # checksums decide what that one leaves
        verb, _, task = stage.partition("_")
        by_name = {"evaluate": [f"pipeline/evaluation/{task}.py"]}
        if verb == "train":
            by_name["train"] = [f"pipeline/models/{task}/{PARAMS[stage]['architecture']}.py"]
        code = {name for name in decides[stage] if name.endswith(".py")}
        assert code == imported([f"pipeline/{verb}.py", *by_name.get(verb, [])]), stage
        assert PIPELINE["stages"][stage]["desc"]


def both(verb: str) -> list[str]:
    return [f"{verb}_{task}" for task in TASKS]


# What an edit makes stale. What depends on a stage reruns only if its outputs then differ.
EDITS = {
    "pipeline/data/official.py": ["download"],
    "pipeline/data/embedded.py": [],
    "pipeline/download.py": [],
    "pipeline/data/archives.py": both("preprocess"),
    "pipeline/tasks.py": [*both("preprocess"), *both("evaluate"), "plot"],
    "pipeline/models/classifier/mini_xception.py": ["train_classifier"],
    "pipeline/models/classifier/naive.py": [],
    "pipeline/models/segmenter/encoder_decoder.py": ["train_segmenter"],
    "pipeline/training/twin.py": both("train"),
    "pipeline/data/dataset.py": [*both("train"), *both("evaluate")],
    "pipeline/evaluation/metrics.py": both("evaluate"),
    "pipeline/answers/classifier.py": ["evaluate_classifier"],
    "pipeline/evaluation/segmenter.py": ["evaluate_segmenter"],
    "pipeline/plot.py": ["plot"],
    "requirements.txt": [*both("preprocess"), *both("train"), *both("evaluate"), "plot"],
}


def test_an_edit_of_a_file_makes_these_stages_stale(decides) -> None:
    assert {path: {stage for stage in decides if path in decides[stage]} for path in EDITS} == {
        path: set(stages) for path, stages in EDITS.items()
    }


def test_an_edit_of_a_parameter_makes_its_own_stages_stale(decides) -> None:
    for section, keys in PARAMS.items():
        for key in keys:
            stale = {stage for stage in decides if decides[stage] & {section, f"{section}.{key}"}}
            if section == "preprocess":  # the tasks share most of it
                assert stale == {f"preprocess_{task}" for task in TASKS if not key.endswith("size") or task in key}
            else:
                assert stale == {section}


def test_dvc_finds_stale_what_was_edited_and_nothing_after_an_edit_of_plumbing(clone: Path) -> None:
    plumbing = [*PLUMBING, "pipeline/report.py", "pipeline/tracking/views.py", "README.md", "params.yaml"]
    for path in [*plumbing, "pipeline/models/classifier/another.py"]:
        with (clone / path).open("a") as file:
            file.write("# edited\n")
    with Repo(str(clone)) as repo:
        assert [*repo.status()] == []
    with (clone / "pipeline/models/classifier/residual.py").open("a") as file:
        file.write("# edited\n")
    with Repo(str(clone)) as repo:
        assert [*repo.status()] == ["train_classifier"]


def test_every_plot_is_shown(repository: Path) -> None:
    shown = json.loads(run_in(repository, "dvc", "plots", "show", "--json").stdout)["data"]
    titles = [definition if isinstance(definition, str) else next(iter(definition)) for definition in PIPELINE["plots"]]
    assert list(shown) == titles
    for title, (plot,) in shown.items():
        if title.endswith(".png"):
            assert Path(plot["url"]).read_bytes().startswith(b"\x89PNG"), title
            continue
        rows = plot["content"]["data"]["values"]
        assert plot["content"]["title"]["text"] == title
        assert rows, title
        if title.endswith(" loss"):
            assert sorted(row["field"] for row in rows) == ["loss"] * 3 + ["val_loss"] * 3, "over epochs"


@pytest.mark.slow
def test_the_page_of_plots_draws_every_chart_and_picture_without_a_network(clone: Path, chromium: Browser) -> None:
    address = run_in(clone / "data", "dvc", "plots", "show").stdout.split()[-1]  # from any folder
    with chromium.new_context(offline=True) as context:
        page = context.new_page()
        page.goto(address)
        kinds = [type(plot) for plot in PIPELINE["plots"]]
        expect(page.locator("canvas.marks:visible")).to_have_count(kinds.count(dict))
        expect(page.locator("img")).to_have_count(kinds.count(str))
        assert all(picture.evaluate("image => image.naturalWidth") > 100 for picture in page.locator("img").all())


def test_make_demo_replaces_no_experiment_that_it_did_not_make(small_clone: Path) -> None:
    before, make = experiments(), ("make", f"--file={REPOSITORY}/Makefile", "--old-file=.venv/installed")
    done = run_in(small_clone, *make, "demo", "NAME=bold", check=False)
    assert done.stderr.splitlines()[-2].startswith("bold: an experiment that make demo, as it is now, did not make. ")
    assert experiments() == before
