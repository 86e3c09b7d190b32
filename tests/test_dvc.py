"""dvc.yaml: dependencies that name every module, and plots that show the real outputs."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from tests.helpers.project import REPOSITORY, run_in

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
EPOCHS = 3


def local_imports(module: Path) -> set[str]:
    """The project's files that a module imports, directly or not, itself included."""
    found: set[str] = {"pipeline/__init__.py"}
    todo = [module]
    while todo:
        name = str(todo.pop().relative_to(REPOSITORY))
        found.add(name)
        for node in ast.walk(ast.parse((REPOSITORY / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipeline":
                inner = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                inner = [alias.name for alias in node.names]
            else:
                continue
            modules = [REPOSITORY / name.replace(".", "/") for name in inner]
            files = [path for one in modules for path in (one.with_suffix(".py"), one.parent / "__init__.py")]
            todo += [file for file in files if file.is_file() and str(file.relative_to(REPOSITORY)) not in found]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_the_dependencies_of_a_stage_name_every_local_module_that_it_imports(stage: str) -> None:
    module = STAGES[stage]["cmd"].split()[3]
    code = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert code == local_imports(REPOSITORY / f"{module.replace('.', '/')}.py")


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "download"])
def test_other_packages_make_pictures_and_models_anew(stage: str) -> None:
    assert "requirements.txt" in STAGES[stage]["deps"]


@pytest.fixture(scope="module")
def plots(repository: Path) -> dict[str, dict]:
    """What `dvc plots show` shows, by title."""
    shown = json.loads(run_in(repository, "dvc", "plots", "show", "--json").stdout)["data"]
    assert all(len(plot) == 1 for plot in shown.values())
    return {title: plot[0] for title, plot in shown.items()}


def rows(plot: dict) -> list[dict[str, str]]:
    return plot["content"]["data"]["values"]


def test_every_plot_is_shown(plots: dict[str, dict]) -> None:
    titles = [definition if isinstance(definition, str) else next(iter(definition)) for definition in PIPELINE["plots"]]
    assert list(plots) == titles
    for title, plot in plots.items():
        assert plot["type"] == ("image" if title.endswith(".png") else "vega"), title
        if title.endswith(".png"):
            assert Path(plot["url"]).read_bytes().startswith(b"\x89PNG"), title
        else:
            assert plot["content"]["title"]["text"] == title


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
@pytest.mark.parametrize("figure", ["loss", "accuracy"])
def test_curves_over_epochs_show_training_and_validation(plots: dict[str, dict], task: str, figure: str) -> None:
    plot = plots[f"{task} {figure}"]
    assert plot["content"]["encoding"]["x"]["field"] == "epoch"
    lines = plot["content"]["layer"][1]  # over the smoothed ones of the template `linear`
    assert lines["mark"]["type"] == "line"
    value = lines["encoding"]["y"]["field"]
    points = {(row["field"], row["epoch"]): row[value] for row in rows(plot)}
    assert len(rows(plot)) == len(points) == 2 * EPOCHS
    assert all(float(shown) >= 0 for shown in points.values())
    assert {field for field, _ in points} == {figure, f"val_{figure}"}


@pytest.mark.parametrize(
    ("title", "x", "y", "count"),
    [
        ("segmenter IoU by class", "iou", "class", 3),
        ("segmenter Dice by class", "dice", "class", 3),
        ("classifier accuracy by breed", "accuracy", "breed", 12),
    ],
)
def test_bars_start_at_zero_one_for_each_name(plots: dict[str, dict], title: str, x: str, y: str, count: int) -> None:
    plot = plots[title]["content"]
    assert plot["mark"]["type"] == "bar"
    assert (plot["encoding"]["x"]["field"], plot["encoding"]["x"]["scale"]) == (x, {"zero": True})
    assert plot["encoding"]["y"]["field"] == y
    names = [row[y] for row in rows(plots[title])]
    assert len(names) == len(set(names)) == count
    assert all(0 <= float(row[x]) <= 1 for row in rows(plots[title]))


def test_the_confusion_matrix_has_truth_by_row_shares_of_it_and_every_test_picture(
    plots: dict[str, dict], repository: Path
) -> None:
    plot = plots["classifier confusion"]
    cells = plot["content"]["spec"]
    assert (cells["encoding"]["x"]["field"], cells["encoding"]["y"]["field"]) == ("predicted", "actual")
    (total,) = [step for step in cells["transform"] if "joinaggregate" in step]
    assert total["groupby"] == ["actual"], "of each truth"
    counts = json.loads((repository / "data/metrics/preprocess_classifier.json").read_text())
    assert len(rows(plot)) == counts["pictures"]["test"]
    assert {row[name] for row in rows(plot) for name in ("actual", "predicted")} <= {"cat", "dog"}


def test_the_roc_is_an_unsmoothed_line_from_corner_to_corner(plots: dict[str, dict]) -> None:
    plot = plots["classifier ROC"]
    assert plot["content"]["mark"]["type"] == "line"
    axes = {axis: plot["content"]["encoding"][axis]["field"] for axis in ("x", "y")}
    assert axes == {"x": "false_positive_rate", "y": "true_positive_rate"}
    points = [(float(row[axes["x"]]), float(row[axes["y"]])) for row in rows(plot)]
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    assert len(points) > 2
    assert points == sorted(points)
