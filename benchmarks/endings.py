"""How a `dvc repro` that was killed and run again has ended, against one that nobody killed."""

import re
from pathlib import Path

import mlflow
from dvc.utils.serialize import load_yaml

from pipeline.inputs import content_md5
from pipeline.outputs import read_metrics
from pipeline.paths import METRICS
from tests.helpers.project import finished_runs


def outputs(repository: Path) -> dict[str, str]:
    """The md5 of dvc.lock and of every output, by path."""
    stages = load_yaml(repository / "dvc.lock")["stages"].values()
    paths = ["dvc.lock", *(out["path"] for stage in stages for out in stage["outs"])]
    return {path: content_md5(repository / path) for path in paths}


def faults(trial: Path, stage: str, printed: str, expected: dict[str, str]) -> list[str]:
    """What is not as it would be without the kill. printed: by the killed stage and by the one that went on."""
    ended = outputs(trial)
    differing = [f"{path} differs" for path in expected if ended.get(path) != expected[path]]
    epochs = re.findall(r"\w+ epoch \d+/", printed)
    repeated = [f"{epoch} twice" for epoch in set(epochs) if epochs.count(epoch) > 1]
    places = (".training/*", "data/**/*draft*", "mlflow.db.draft*")
    found = {path for place in places for path in trial.glob(place)}
    left = [f"{path.relative_to(trial)} is left" for path in sorted(found)]
    verb, _, task = stage.partition("_")
    return differing + repeated + left + (store_faults(trial, task) if verb in ("train", "evaluate") else [])


def store_faults(repository: Path, task: str) -> list[str]:
    """The store has one finished run, with each epoch once, the test metrics, and one model, which is a version.

    No run in it seems to be at work.
    """
    client = mlflow.MlflowClient(f"sqlite:///{repository}/mlflow.db")
    experiments = [found.experiment_id for found in client.search_experiments()]
    if at_work := client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        return [f"{len(at_work)} runs seem to be at work"]
    runs = finished_runs(repository)
    if len(runs) != 1:
        return [f"{len(runs)} finished runs"]
    steps = [point.step for point in client.get_metric_history(runs[0].info.run_id, "loss")]
    wrong = [] if sorted(steps) == list(range(1, len(steps) + 1)) else [f"epochs {steps} in MLflow"]
    measured = read_metrics((repository / METRICS / f"{task}.json").read_text())
    logged = runs[0].data.metrics
    wrong += [f"{name} in MLflow" for name, value in measured.items() if logged.get(f"test_{name}") != value]
    models = [f"models:/{model.model_id}" for model in client.search_logged_models(experiments)]
    versions = [version.source for version in client.search_model_versions()]
    return wrong + ([] if len(models) == 1 and versions == models else [f"models {models}, versions {versions}"])
