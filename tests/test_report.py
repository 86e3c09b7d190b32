"""The report against real Git and DVC, on stages that copy files: no training, no store."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipeline.report import main, report, show
from pipeline.tasks import TASKS
from tests.helpers.project import commit_all, init_git, run_in
from tests.helpers.tables import rows, section

ARCHIVE = "data/raw/images.tar.gz"
WORSE = "report: worse than HEAD beyond its interval, or gone: classifier.accuracy, segmenter.mean_iou"


def stages(task: str) -> dict:
    """A training that copies its section of params.yaml, an evaluation that copies a file of metrics."""
    model, metrics, plots = f"data/models/{task}.keras", f"data/metrics/{task}.json", f"data/plots/{task}"
    train = {"cmd": f"mkdir -p data/models && grep -A 1 {task} params.yaml > {model}", "params": [f"train_{task}"]}
    evaluate = {"cmd": f"mkdir -p data/metrics {plots} && cp {task}.json {metrics} && touch {plots}/samples.png"}
    return {
        f"train_{task}": train | {"deps": [ARCHIVE, "code.py"], "outs": [model]},
        f"evaluate_{task}": evaluate
        | {"deps": [f"{task}.json", model], "outs": [plots], "metrics": [{metrics: {"cache": False}}]},
    }


def measure(accuracy: float, name: str = "accuracy", task: str = "classifier") -> None:
    """Let an evaluation find this, give or take 0.01."""
    measured = {name: accuracy, f"{name}_low": accuracy - 0.01, f"{name}_high": accuracy + 0.01}
    Path(f"{task}.json").write_text(json.dumps(measured))


def set_rate(rate: float) -> None:
    sections = {"train_segmenter": {"rate": 0.1}, "train_classifier": {"rate": rate}}
    Path("params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two commits: the files, and what `dvc repro` made of them."""
    folder = tmp_path_factory.mktemp("reproduced")
    init_git(folder)
    run_in(folder, "dvc", "init", "--quiet")
    download = {"cmd": f"mkdir -p data/raw && cp code.py {ARCHIVE}", "deps": ["code.py"], "outs": [ARCHIVE]}
    both = stages("segmenter") | stages("classifier")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"download": download} | both}))
    (folder / ".gitignore").write_text("data/*\n!data/metrics\n")
    (folder / "code.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        measure(0.5, "mean_iou", "segmenter")
        measure(0.9)
        set_rate(0.1)
    commit_all(folder, "the files")
    run_in(folder, "dvc", "repro")
    commit_all(folder, "what `dvc` made")
    return folder


@pytest.fixture(autouse=True)
def here(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, the working directory; nothing answers where the store should be."""
    folder = shutil.copytree(reproduced, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return folder


def run_report(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str | None:
    """The line that goes with exit 1; None for exit 0."""
    monkeypatch.setattr("sys.argv", ["report", *arguments])
    try:
        return main()
    except SystemExit as end:
        return end.code


def test_nothing_changed_is_said_in_one_line_and_a_store_that_is_away_costs_the_models_only(capsys) -> None:
    assert report("HEAD") == []
    said = capsys.readouterr().out
    assert "**No test metric has changed.**" in said
    assert re.search(r"^Base: `HEAD`, `\w+ what  dvc  made`\. Here: `\w+ what  dvc  made`\.$", said, re.MULTILINE)
    assert "No differences." in section(said, "Parameters")
    assert {cells[0] for cells in rows(said, "Stages").values()} == {"unchanged"}
    assert rows(said, "Metrics")["classifier.accuracy"][2:] == ["+0", "unchanged"]
    assert "![" not in said
    assert "the MLflow store http://127.0.0.1:9 cannot be used: " in section(said, "Models")


def test_a_base_without_results_is_no_comparison(capsys) -> None:
    assert report("HEAD~1") == []
    said = capsys.readouterr().out
    assert "**No comparison**: the base has no results." in said
    assert {tuple(cells) for cells in rows(said, "Stages").values()} == {("new", "-")}
    assert {cells[-1] for cells in rows(said, "Metrics").values()} == {"new"}
    assert "![classifier: samples](data/plots/classifier/samples.png)" in said


def test_metrics_that_are_worse_or_gone_are_reported_and_fail_where_that_is_asked_for(
    here, monkeypatch, capsys
) -> None:
    set_rate(1.0)
    measure(0.8)
    measure(0.5, "f1", "segmenter")
    run_in(here, "dvc", "repro")
    assert run_report(monkeypatch) is None
    said = capsys.readouterr().out
    assert (
        said.splitlines()[2] == "**Worse**: classifier.accuracy. **Gone**: segmenter.mean_iou. **New**: segmenter.f1."
    )
    assert "` with uncommitted changes.\n" in said
    assert rows(said, "Parameters") == {"train_classifier.rate": ["0.1", "1.0"]}
    assert rows(said, "Stages") == {
        "download": ["unchanged", "-"],
        "train_segmenter": ["unchanged", "-"],
        "train_classifier": ["changed", "train_classifier.rate"],
        "evaluate_segmenter": ["changed", "segmenter.json"],
        "evaluate_classifier": ["changed", "classifier.json, data/models/classifier.keras"],
    }
    assert rows(said, "Metrics") == {
        "segmenter.mean_iou": ["0.5000 (0.4900 to 0.5100)", "-", "-", "gone"],
        "segmenter.f1": ["-", "0.5000 (0.4900 to 0.5100)", "-", "new"],
        "classifier.accuracy": ["0.9000 (0.8900 to 0.9100)", "0.8000 (0.7900 to 0.8100)", "-0.1", "worse"],
    }
    assert re.findall(r"!\[.*\]\((.*)\)", said) == [f"data/plots/{task}/samples.png" for task in TASKS][::-1]
    assert run_report(monkeypatch, "--fail-on-regression") == WORSE


def test_a_base_whose_code_was_edited_after_its_results_is_named(here, capsys) -> None:
    Path("code.py").write_text("edited")
    commit_all(here, "the code changed, nothing run")
    Path("code.py").write_text("")
    report("HEAD")
    assert "The base's results are of other code, packages or parameters than it has now." in capsys.readouterr().out


@pytest.mark.slow
def test_models_have_their_version_their_run_and_whether_they_are_champion(repository, monkeypatch, capsys) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    report("HEAD")
    version, run, champion = rows(capsys.readouterr().out, "Models")["pets-classifier"]
    assert (version, len(run)) == ("1", 32)
    assert champion.startswith("yes: best_val_loss ")


def test_a_cell_of_a_table_holds_whatever_a_parameter_says(capsys) -> None:
    show("Parameters", pd.DataFrame({"base": ["a|b"], "here": ["<!--\nc"]}))
    assert capsys.readouterr().out.splitlines()[-2] == r"| a\|b   | &lt;!-- c |"


def test_no_revision_and_results_of_earlier_parameters_are_one_line(monkeypatch, capsys) -> None:
    unknown = "report: v7: no commit, branch, tag or experiment of this repository"
    assert run_report(monkeypatch, "--base", "v7") == unknown
    set_rate(0.5)
    remedy = "`dvc repro` first, where a remote has it `dvc repro --pull`"
    assert run_report(monkeypatch) == f"report: not up to date: train_classifier; {remedy}"
    assert capsys.readouterr().out == ""
