"""The report against the real DVC and MLflow: a change that hurts, nothing changed, no base, bad input."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.report import main, report, show, summary
from pipeline.revisions import Revision
from tests.helpers.project import clone_of, commit_all, run_in
from tests.test_pipeline import set_param


@pytest.fixture
def clone(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with all that DVC has, without the store and the times; the working directory."""
    folder = clone_of(repository, tmp_path / "clone")
    shutil.rmtree(folder / ".training", ignore_errors=True)
    monkeypatch.chdir(folder)
    return folder


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str, title: str) -> dict[str, list[str]]:
    """The cells of a table's rows, by the first."""
    cells = [re.findall(r"[^|]+", line) for line in section(text, title).splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in cells[1:]}


def run_report(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code, or the line that goes with exit 1."""
    monkeypatch.setattr("sys.argv", ["report", *arguments])
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0


def test_nothing_changed_is_said_in_one_line(clone, capsys):
    assert report("HEAD") == []
    said = capsys.readouterr().out
    assert "**No test metric has changed.**" in said
    assert "No differences." in section(said, "Parameters")
    assert {cells[0] for cells in rows(said, "Stages").values()} == {"stood still"}
    assert {cells[-1] for cells in rows(said, "Metrics").values()} == {"unchanged"}
    assert "![" not in said


def test_a_base_without_results_is_no_comparison(clone, capsys):
    assert report("HEAD~1") == []
    said = capsys.readouterr().out
    assert "**No comparison**: the base has no results." in said
    assert {tuple(cells[::2]) for cells in rows(said, "Stages").values()} == {("restored", "not in the base")}
    assert {cells[-1] for cells in rows(said, "Metrics").values()} == {"new"}
    assert {path for path in re.findall(r"!\[.*\]\((.*)\)", said) if not Path(path).is_file()} == set()
    assert "![curves: segmenter](data/plots/curves/segmenter.png)" in said
    assert "![classifier: mistakes](data/plots/classifier/mistakes.png)" in said


def test_a_change_that_hurts_is_reported_and_fails_where_that_is_asked_for(clone, monkeypatch, capsys):
    set_param(clone, "train_classifier", "learning_rate", 1.0)
    run_in(clone, "dvc", "repro")
    set_param(clone, "plot", "patience", 1)
    run_in(clone, "dvc", "repro")
    assert run_report(monkeypatch) == 0
    said = capsys.readouterr().out
    assert rows(said, "Parameters") == {
        "train_classifier.learning_rate": ["0.001", "1.0"],
        "plot.patience": ["5", "1"],
    }
    stages = rows(said, "Stages")
    assert stages["train_segmenter"] == ["stood still", "-", "-"]
    state, seconds, cause = stages["train_classifier"]
    assert (state.partition(",")[0], cause) == ("ran", "train_classifier.learning_rate")
    assert float(seconds) > 0
    assert stages["evaluate_classifier"][2] == "data/history/classifier.csv, data/models/classifier.keras"
    assert stages["plot"][2] == "plot.patience, data/history/classifier.csv"
    assert "segmenter/samples.png" not in section(said, "Pictures")
    assert "classifier/samples.png" in section(said, "Pictures")
    version, run, champion = rows(said, "Models")["pets-classifier"]
    assert (version, len(run)) == ("1", 32)
    assert champion == "is it; yes: the first"

    worse = [name for name, cells in rows(said, "Metrics").items() if cells[-1] == "worse"]
    assert worse != []
    line = f"report: worse than HEAD beyond its interval, or gone: {', '.join(worse)}"
    assert run_report(monkeypatch, "--fail-on-regression") == line
    run_in(clone, "git", "stash", "--quiet")
    run_in(clone, "dvc", "repro")
    capsys.readouterr()
    run_in(clone, "git", "stash", "pop")
    run_in(clone, "dvc", "repro")
    assert report("HEAD") == worse, "also of what the run cache restored"


def test_a_base_that_no_stage_could_read_is_no_comparison(clone, capsys):
    committed = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text("train: {rate: [")
    run_in(clone, "git", "add", "params.yaml")
    run_in(clone, "git", "rm", "--quiet", "--cached", "dvc.lock")
    run_in(clone, "git", "commit", "--quiet", "--message", "broken `params`")
    (clone / "params.yaml").write_text(committed)
    assert report("HEAD") == []
    said = capsys.readouterr().out
    assert "**No comparison**: the base has no results." in said
    assert re.search(
        r"^Base: `HEAD`, `[0-9a-f]{7} broken  params `. Here: .* with uncommitted changes\.$", said, re.MULTILINE
    )
    assert rows(said, "Parameters")["plot.patience"] == ["-", "5"]


def test_a_test_metric_that_is_gone_fails_where_that_is_asked_for(clone, monkeypatch, capsys):
    stage = Path("pipeline/evaluate.py")
    stage.write_text(stage.read_text().replace('"macro_f1": of_', '"f1": of_'))
    run_in(clone, "dvc", "repro")
    line = "report: worse than HEAD beyond its interval, or gone: classifier.macro_f1"
    assert run_report(monkeypatch, "--fail-on-regression") == line
    assert "**Gone**: classifier.macro_f1. **New**: classifier.f1." in capsys.readouterr().out


def test_the_summary_names_test_metrics_by_verdict_the_worst_first():
    verdicts = ["within noise", "better", "unchanged", "other data", "no interval", "gone", "worse", "worse"]
    metrics = pd.DataFrame({"metric": list("abcdefgh"), "verdict": verdicts, "headline": [True] * 7 + [False]})
    said = "**Worse**: g. **Gone**: f. **Other data**: d. **No interval**: e. **Better**: b. **Within noise**: a."
    assert summary(metrics, Revision("HEAD", "1234567", {"train": {}})) == said
    assert summary(metrics, Revision("HEAD", "1234567", {})) == "**No comparison**: the base has no results."


def test_a_cell_of_a_table_holds_whatever_a_parameter_says(capsys):
    show("Parameters", pd.DataFrame({"base": ["a|b"], "here": ["<!--\nc"]}))
    assert capsys.readouterr().out.splitlines()[-2] == r"| a\|b   | &lt;!-- c |"


def test_models_that_the_store_lacks_are_named_with_the_remedy(clone, capsys):
    report("HEAD")
    remedy = "not in the store, `python -m pipeline.tracking sync` writes it"
    assert rows(capsys.readouterr().out, "Models") == {
        f"pets-{task}": ["-", remedy, "-"] for task in ("segmenter", "classifier")
    }


def test_a_store_that_cannot_be_used_costs_the_models_only(clone, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    report("HEAD")
    said = capsys.readouterr().out
    assert "the MLflow store http://127.0.0.1:9 cannot be used: " in section(said, "Models")
    assert rows(said, "Metrics") != {}


def test_a_base_whose_code_was_edited_after_its_results_is_named(clone, capsys):
    set_param(clone, "train_classifier", "learning_rate", 0.5)
    commit_all(clone, "a parameter changed, nothing run")
    set_param(clone, "train_classifier", "learning_rate", 0.001)
    report("HEAD")
    assert "The base's results are of other code, packages or parameters than it has now." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--base", "v7"], "report: v7: no commit, branch, tag or experiment of this repository"),
        ([], "report: not up to date: train_classifier; `dvc repro` first, where a remote has it `dvc repro --pull`"),
    ],
)
def test_bad_input_is_one_line(clone, monkeypatch, capsys, arguments, line):
    if not arguments:
        set_param(clone, "train_classifier", "learning_rate", 0.5)
    assert run_report(monkeypatch, *arguments) == line
    assert capsys.readouterr().out == ""
