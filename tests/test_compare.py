"""`compare` and `show`: differences to the first run, the figures that DVC tells, lineage both ways."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml

from pipeline.errors import InputError
from pipeline.tasks import TASKS
from pipeline.tracking.compare import compare
from pipeline.tracking.search import search
from pipeline.tracking.show import show
from pipeline.tracking.sync import sync
from tests.helpers.project import clone_of, finished_runs, run_in
from tests.helpers.training import record_one

TRACKING = ("python", "-m", "pipeline.tracking")
COMMAND = "python -m pipeline.tracking sync"


def rows_of(out: str) -> dict[str, list[str]]:
    """The words of each printed line, by its first."""
    return {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}


def test_the_table_holds_parameters_that_differ_metrics_and_differences_to_the_first(
    store: Path, capsys: pytest.CaptureFixture
) -> None:
    ids = [record_one("classifier", loss, seed=seed).info.run_id for seed, loss in enumerate((0.5, 0.25))]
    capsys.readouterr()
    compare([ids[0], ids[1][:8]], Path("table.csv"))
    printed = rows_of(capsys.readouterr().out)
    assert printed["seed"] == ["0", "1"]
    assert printed["best_val_loss"] == ["0.5", "0.25", "-0.25"]
    assert printed["test_accuracy"] == ["0.5", "0.75", "0.25"]
    assert "architecture" not in printed, "the same in both"

    written = pd.read_csv("table.csv", index_col="name")
    labels = [f"tiny {run_id[:6]}" for run_id in ids]
    assert list(written.columns) == ["task", *labels, f"{labels[1]} difference"]
    assert list(written.loc["best_val_loss"]) == ["classifier", 0.5, 0.25, -0.25]


def test_without_names_every_finished_run_is_compared_the_champion_first(
    prepared: Path, capsys: pytest.CaptureFixture
) -> None:
    for task, losses in (("segmenter", (0.5,)), ("classifier", (0.5, 0.25, 0.4))):
        for seed, loss in enumerate(losses):
            record_one(task, loss, seed=seed)
    capsys.readouterr()
    compare([], Path("table.md"))
    printed = capsys.readouterr().out
    segmenter, classifier = printed.split("pets-classifier")
    assert rows_of(segmenter)["best_val_loss"] == ["0.5"]
    assert rows_of(classifier)["best_val_loss"] == ["0.25", "0.5", "0.25", "0.4", "0.15"]
    assert Path("table.md").read_text().startswith("| task")


@pytest.mark.parametrize(
    ("names", "out", "line"),
    [
        (["nothing"], None, "nothing: no revision, run id, run name or md5 in sqlite:///"),
        ([], None, "there is no finished run to compare"),
        ([], "table.xlsx", "table.xlsx: ends in '.xlsx'; allowed: .csv, .md"),
    ],
)
def test_what_cannot_be_compared_is_one_line(prepared: Path, names: list[str], out: str | None, line: str) -> None:
    with pytest.raises(InputError, match=line):
        compare(names, out and Path(out))


def test_mlflow_and_dvc_tell_the_same_numbers_to_the_last_digit(repository: Path, tmp_path: Path) -> None:
    run_in(repository, *TRACKING, "compare", "--out", str(tmp_path / "table.csv"))
    table = pd.read_csv(tmp_path / "table.csv", dtype=str).set_index(["task", "name"])
    shown = json.loads(run_in(repository, "dvc", "exp", "show", "--json").stdout)[0]["data"]["metrics"]
    diff = json.loads(run_in(repository, "dvc", "metrics", "diff", "--all", "--json", "HEAD~1", "HEAD").stdout)
    plots = json.loads(run_in(repository, "dvc", "plots", "diff", "--json", "HEAD~1", "HEAD").stdout)["data"]
    for run in finished_runs(repository):
        task = {"encoder_decoder": "segmenter", "residual": "classifier"}[run.data.params["architecture"]]
        (column,) = [name for name in table.columns if run.info.run_id[:6] in name and "difference" not in name]
        figures = json.loads(Path(repository, f"data/metrics/{task}.json").read_text())
        assert shown[f"data/metrics/{task}.json"]["data"] == figures
        assert {name: change["new"] for name, change in diff[f"data/metrics/{task}.json"].items()} == figures
        for name, value in figures.items():
            assert run.data.metrics[f"test_{name}"] == value == float(table[column][task, f"test_{name}"])

        training = json.loads(Path(repository, "data/metrics/training.json").read_text())[task]
        assert run.data.metrics["best_val_loss"] == training["best_val_loss"]
        points = plots[f"{task} loss"][0]["content"]["data"]["values"]
        client = mlflow.MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
        for name in ("loss", "val_loss"):
            history = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
            assert {int(row["epoch"]): float(row[name]) for row in points} == history


def test_what_the_store_lacks_of_a_revision_is_said_with_the_command_that_writes_it(
    repository: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(clone_of(repository, tmp_path / "clone"))
    shutil.copy(empty_store, "mlflow.db")
    with pytest.raises(InputError, match=r"^HEAD: nothing of this revision in sqlite:///"):
        show("HEAD")
    lines = [f"HEAD: {task}: its run is not in the store; `{COMMAND} HEAD` writes it" for task in TASKS]
    assert capsys.readouterr().err.splitlines() == lines

    sync([])
    (run,) = search("segmenter")
    mlflow.MlflowClient().set_tag(run.info.run_id, "metrics_md5", "of another evaluation")
    mlflow.delete_run(search("classifier")[0].info.run_id)
    capsys.readouterr()
    show("HEAD")
    said = capsys.readouterr()
    assert said.out.startswith(f"run         {run.info.run_id}")
    assert said.err.splitlines() == ["HEAD: segmenter: the store has another evaluation of this checkpoint", lines[1]]


def test_show_leads_from_a_checkpoint_and_from_a_run_to_all_that_made_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def shown_of(name: str) -> str:
        show(name)
        return capsys.readouterr().out

    monkeypatch.chdir(repository)
    stages = yaml.safe_load((repository / "dvc.lock").read_text())["stages"]
    md5 = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    model = md5["data/models/classifier.keras"]
    (run,) = [run for run in finished_runs(repository) if run.data.tags["model_md5"] == model]
    trained_at = run_in(repository, "git", "rev-parse", "HEAD~1").stdout.strip()
    head = run_in(repository, "git", "rev-parse", "--short", "HEAD").stdout.strip()

    shown = shown_of("data/models/classifier.keras")
    lines = {line[:12].strip(): line[12:] for line in shown.splitlines()}
    assert lines["run"] == f"{run.info.run_id} 'residual' in pets-classifier, FINISHED"
    assert lines["origin"].startswith("dvc repro, device ")
    assert lines["checkpoint"] == f"data/models/classifier.keras md5 {model}"
    assert lines["data"] == f"data/prepared/classifier md5 {md5['data/prepared/classifier']}"
    assert lines["code"] == f"commit {trained_at}"
    assert "learning_rate 0.001" in lines["params"]
    assert lines["registry"].startswith("pets-classifier version 1 (champion)")
    assert head in lines["held by"].split(", ")
    fetched = repository.parent / "fetched.keras"
    run_in(repository, *lines["fetch"].split(), "--out", str(fetched))
    assert fetched.read_bytes() == (repository / "data/models/classifier.keras").read_bytes()

    for name in (model, run.info.run_id, md5["data/history/classifier.csv"], "models:/pets-classifier@champion"):
        assert shown_of(name) == shown
