"""What MLflow's UI shows of a task: a saved view of its runs, and links to it. Nothing here touches the store.

MLflow documents none of this; it was read from the scripts of 3.17.2's UI and tried in Chromium. A view in its "Views"
menu is a tag of the experiment, `mlflow.sharedViewState.KEY`: JSON with a name, a time and the state, itself JSON,
deflated or plain. `viewStateShareKey=KEY` in the address opens it. What the state lacks is as the UI has it by default.
No tag makes a view the first thing that a browser shows.
"""

import json
from typing import Any

from pipeline.tasks import TASKS

VIEW = "compare"
PAGE = f"#/experiments/{{}}/runs?viewStateShareKey={VIEW}&workflowType=machine_learning"  # of an experiment's id
PARAMS = ["learning_rate", "batch_size", "epochs", "architecture", "augmentation", "image_size", "seed"]
TAGS = ["champion", "origin", "dvc_experiment"]
CURVES = ["loss", "accuracy"]  # each in one chart with its val_ twin


def experiment_tags(task: str) -> dict[str, str]:
    """Return the tags that give the experiment of a task its saved view."""
    columns = _columns(task)
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {column: max(100, 7 * len(column) - 40) for column in columns},  # pixels: the whole name
        "compareRunSections": [
            *(_section(name) for name in ("Curves", "Differences", "Test")),
            _section("Model metrics", display=False),  # where the UI puts a chart of every other metric
        ],
        "compareRunCharts": [
            *(_chart("LINE", "Curves", metric, f"val_{metric}") for metric in CURVES),
            *(_chart("BAR", "Test", f"test_{metric.name}") for metric in TASKS[task].metrics[:2]),
            _differences(),
        ],
    }
    view = {"name": "Compare", "createdAt": 0, "state": json.dumps(state)}
    return {f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}


def _columns(task: str) -> list[str]:
    tested = [f"test_{metric.name}{end}" for metric in TASKS[task].metrics[:2] for end in ("", "_low", "_high")]
    shown = [
        ("metrics", tested[:3]),
        ("params", PARAMS),
        ("tags", TAGS),
        ("metrics", [*tested[3:], "best_val_loss", "best_epoch"]),
    ]
    return [*(f"{kind}.`{name}`" for kind, names in shown for name in names), "attributes.`Models`"]


def _section(name: str, display: bool = True) -> dict[str, Any]:
    """Return a heading in the page of charts. display: unfolded."""
    return {"uuid": name, "name": name, "display": display, "columns": 1 if name == "Differences" else 2}


def _chart(kind: str, section: str, *metrics: str) -> dict[str, Any]:
    return {
        "uuid": metrics[0],
        "type": kind,
        "metricSectionId": section,
        "metricKey": metrics[0],
        "selectedMetricKeys": metrics,
        "useGlobalLineSmoothing": True,  # else the curves are smoothed
    }


def _differences() -> dict[str, Any]:
    """Return a table of the parameters and metrics in which the runs differ."""
    return {
        "uuid": "differences",
        "type": "DIFFERENCE",
        "metricSectionId": "Differences",
        "chartName": "Differences",
        "compareGroups": ["Parameters", "Model metrics"],
        "showDifferencesOnly": True,
    }


def charts_page(experiment_id: str) -> str:
    """Return the address of the saved view's charts, below the UI's."""
    return f"{PAGE.format(experiment_id)}&compareRunsMode=CHART"


def experiment_links(experiment_id: str) -> str:
    """Return Markdown for the experiment's description: the saved view as a table and as charts."""
    table, charts = f"[table]({PAGE.format(experiment_id)})", f"[charts]({charts_page(experiment_id)})"
    return f'Compare the runs: {table}, {charts}. "Override saved view" makes your browser start with it.'
