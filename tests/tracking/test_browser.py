"""MLflow's own UI in a real browser, as someone who opens it for the first time, on the store that `dvc repro` left."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from playwright.sync_api import Browser, Locator, Page, expect

from pipeline.tracking.__main__ import links
from tests.helpers.project import finished_runs
from tests.helpers.servers import free_port, is_open, kill, start

pytestmark = pytest.mark.slow

WINDOW = {"width": 4000, "height": 1500}  # what does not fit is not in the page
ACCURACY = ("test_accuracy", "test_accuracy_low", "test_accuracy_high")


@pytest.fixture(scope="module")
def store(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's store, in which the classifier has a second run, with another learning rate."""
    copy = shutil.copy(repository / "mlflow.db", tmp_path_factory.mktemp("store"))
    client, first = mlflow.MlflowClient(f"sqlite:///{copy}"), reproduced(repository)
    run_id = client.create_run(first.info.experiment_id, run_name="bolder").info.run_id
    for name, value in (first.data.params | {"learning_rate": "0.25"}).items():
        client.log_param(run_id, name, value)
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        for step in (1, 2):
            client.log_metric(run_id, name, 1 / step, step=step)
    client.set_terminated(run_id)
    return Path(copy)


@pytest.fixture(scope="module")
def ui(store: Path) -> Iterator[str]:
    """The address of `mlflow ui`."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = start([*command, "--backend-store-uri", f"sqlite:///{store}"], store.parent / "log", lambda: is_open(port))
    yield f"http://127.0.0.1:{port}"
    kill(server)


@pytest.fixture
def page(ui: str, chromium: Browser) -> Iterator[Page]:
    """The list of experiments, in a browser that has never been here."""
    expect.set_options(timeout=30_000)
    with chromium.new_context(viewport=WINDOW) as context:
        page = context.new_page()
        page.goto(f"{ui}/#/experiments")
        yield page


def reproduced(repository: Path) -> Run:
    """The classifier's run in the repository's store."""
    (run,) = [run for run in finished_runs(repository) if "test_accuracy" in run.data.metrics]
    return run


def chart(page: Page, title: str) -> Locator:
    return page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.get_by_text(title, exact=True))


def expect_curves(card: Locator, *legend: str) -> None:
    for name in legend:
        expect(card.get_by_text(name, exact=True).first).to_be_visible()
    expect(card.locator("path.js-line").nth(len(legend) - 1)).to_be_attached()


def test_an_experiment_s_description_opens_a_table_of_what_people_compare_by(page: Page, repository: Path) -> None:
    page.get_by_role("link", name="pets-classifier").click()
    page.get_by_role("button", name="Got it").click()  # MLflow takes everybody for a builder of agents
    with page.expect_popup() as opened:
        page.get_by_role("link", name="table", exact=True).click()
    table, run = opened.value, reproduced(repository)
    for name in (*ACCURACY, "learning_rate", "seed", "champion", "best_val_loss"):
        expect(table.get_by_role("columnheader", name=name, exact=True).first).to_be_visible()
    for name in ACCURACY:
        digits = f"{run.data.metrics[name]:.10f}".rstrip("0").rstrip(".")[:8]
        expect(table.get_by_role("gridcell", name=digits).first).to_be_visible()
    expect(table.get_by_role("gridcell", name=run.data.tags["champion"], exact=True).first).to_be_visible()


def test_make_ui_prints_links_that_open_charts_with_both_curves_of_all_runs_in_one_and_with_what_differs(
    page: Page, ui: str, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repository / 'mlflow.db'}")
    links(ui)
    page.goto(capsys.readouterr().out.partition("pets-classifier: ")[2])
    name = reproduced(repository).info.run_name
    for metric in ("loss", "accuracy"):
        legend = [f"{run} ({curve})" for run in (name, "bolder") for curve in (metric, f"val_{metric}")]
        expect_curves(chart(page, f"{metric} vs val_{metric}"), *legend)
    expect(chart(page, "test_accuracy")).to_be_visible()
    differences = chart(page, "Differences")
    expect(differences.get_by_role("row").filter(has_text="learning_rate")).to_contain_text("0.25")
    expect(differences.get_by_text("seed")).to_have_count(0)
