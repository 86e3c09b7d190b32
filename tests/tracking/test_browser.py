"""MLflow's own UI in a real browser, as someone who opens it for the first time, on the store that `dvc repro` left."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from pipeline.inputs import content_md5
from pipeline.tasks import TASKS
from tests.helpers.programs import program
from tests.helpers.servers import free_port, is_open, kill, start

pytestmark = pytest.mark.slow

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WINDOW = {"width": 4000, "height": 1500}  # what does not fit is not in the page
MAIN = {"segmenter": "test_mean_iou", "classifier": "test_accuracy"}


@pytest.fixture(scope="module")
def store(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's store, in which each task has a second run, with another learning rate."""
    copy = shutil.copy(repository / "mlflow.db", tmp_path_factory.mktemp("store"))
    client = mlflow.MlflowClient(f"sqlite:///{copy}")
    for task in TASKS:
        first = reproduced(repository, task)
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
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        kill(server)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(ui: str, chromium: Browser) -> Iterator[Page]:
    """The list of experiments, in a browser that has never been here."""
    expect.set_options(timeout=30_000)
    with chromium.new_context(viewport=WINDOW) as context:
        page = context.new_page()
        page.goto(f"{ui}/#/experiments")
        yield page


def reproduced(repository: Path, task: str) -> Run:
    """The run of the checkpoint that lies in the repository."""
    md5 = content_md5(repository / f"data/models/{task}.keras")
    client = mlflow.MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(f"pets-{task}")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.model_md5 = '{md5}'")
    return run


def new_tab(link: Locator) -> Page:
    """The page that a link opens beside the present one."""
    with link.page.expect_popup() as opened:
        link.click()
    return opened.value


def open_view(page: Page, task: str, name: str) -> Page:
    """From the list of experiments to the view of one, by the link in its description."""
    page.get_by_role("link", name=f"pets-{task}").click()
    page.get_by_role("button", name="Got it").click()  # MLflow takes everybody for a builder of agents
    return new_tab(page.get_by_role("link", name=name, exact=True))


def column(page: Page, name: str) -> Locator:
    return page.get_by_role("columnheader", name=name, exact=True).first


def chart(page: Page, title: str) -> Locator:
    return page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.get_by_text(title, exact=True))


def expect_curves(card: Locator, *legend: str) -> None:
    for name in legend:
        expect(card.get_by_text(name, exact=True).first).to_be_visible()
    expect(card.locator("path.js-line").nth(len(legend) - 1)).to_be_attached()


def link_of(page: Page, run: Run) -> Locator:
    return page.locator(f"a[href$='/runs/{run.info.run_id}']")


@pytest.mark.parametrize("task", TASKS)
def test_an_experiment_s_description_opens_a_table_of_what_people_compare_by(
    page: Page, repository: Path, task: str
) -> None:
    table, metric, run = open_view(page, task, "table"), MAIN[task], reproduced(repository, task)
    for name in (metric, f"{metric}_low", f"{metric}_high", "learning_rate", "seed", "champion", "best_val_loss"):
        expect(column(table, name)).to_be_visible()
    for name in (metric, f"{metric}_low", f"{metric}_high"):
        digits = f"{run.data.metrics[name]:.10f}".rstrip("0").rstrip(".")[:8]
        expect(table.get_by_role("gridcell", name=digits).first).to_be_visible()
    expect(table.get_by_role("gridcell", name=run.data.tags["champion"], exact=True).first).to_be_visible()


def test_another_link_opens_charts_with_both_curves_of_all_runs_in_one_and_with_what_differs(
    page: Page, repository: Path
) -> None:
    charts, name = open_view(page, "classifier", "charts"), reproduced(repository, "classifier").info.run_name
    for metric in ("loss", "accuracy"):
        legend = [f"{run} ({curve})" for run in (name, "bolder") for curve in (metric, f"val_{metric}")]
        expect_curves(chart(charts, f"{metric} vs val_{metric}"), *legend)
    expect(chart(charts, "test_accuracy")).to_be_visible()
    differences = chart(charts, "Differences")
    expect(differences.get_by_role("row").filter(has_text="learning_rate")).to_contain_text("0.25")
    expect(differences.get_by_text("seed")).to_have_count(0)


def test_a_run_shows_its_curves_in_one_chart_its_grid_and_its_registered_version(page: Page, repository: Path) -> None:
    run = reproduced(repository, "segmenter")
    page = open_view(page, "segmenter", "table")
    link_of(page, run).click()
    curves = new_tab(page.get_by_role("link", name="loss", exact=True).first)
    legend = [f"{run.info.run_name} ({name})" for name in ("loss", "val_loss")]
    expect_curves(chart(curves, "loss vs val_loss"), *legend)
    curves.close()  # Chromium slows a page down that lies behind another

    page.get_by_role("tab", name="Artifacts").click()
    for name in ("evaluation", "samples.png"):
        page.get_by_text(name, exact=True).click()
    grid = page.get_by_role("img", name="evaluation/samples.png")
    expect(grid).to_be_visible()
    with Image.open(repository / "data/plots/segmenter/samples.png") as picture:
        assert grid.evaluate("image => [image.naturalWidth, image.naturalHeight]") == list(picture.size)

    page.get_by_role("tab", name="Overview").click()
    page.get_by_role("link", name="pets-segmenter").last.click()
    expect(page.get_by_role("heading", name="Version 1")).to_be_visible()
    expect(page.get_by_text(run.data.tags["model_md5"])).to_be_visible()
    page.get_by_role("link", name="pets-segmenter").last.click()
    expect(page.get_by_text("champion")).to_be_visible()


def test_two_selected_runs_are_compared_by_the_parameters_that_differ(page: Page, repository: Path) -> None:
    page = open_view(page, "segmenter", "table")
    for run in (
        page.get_by_role("link", name="bolder", exact=True),
        link_of(page, reproduced(repository, "segmenter")),
    ):
        row = page.get_by_role("row").filter(has=run)
        row.get_by_role("checkbox", name="toggle row selection").check()
    page.get_by_role("button", name="Compare").last.click()
    expect(page.get_by_role("heading", name="Comparing 2 Runs from 1 Experiment")).to_be_visible()
    parameters = page.get_by_role("table").filter(has_text="batch_size")
    expect(parameters.get_by_role("row")).to_have_count(11)
    page.get_by_role("switch").first.click()
    parameters = page.get_by_role("table").filter(has_text="learning_rate")
    expect(parameters.get_by_role("row")).to_have_text(["learning_rate0.250.001"])


def test_a_browser_whose_view_was_overridden_starts_with_the_table(page: Page) -> None:
    page.get_by_text("Model training", exact=True).click()
    address = page.url
    page.get_by_role("link", name="pets-classifier").click()
    expect(column(page, "Run Name")).to_be_visible()
    expect(column(page, "test_accuracy")).to_have_count(0)
    new_tab(page.get_by_role("link", name="table", exact=True)).get_by_role(
        "button", name="Override saved view"
    ).click()

    later = page.context.new_page()
    later.goto(address)
    later.get_by_role("link", name="pets-classifier").click()
    expect(column(later, "test_accuracy")).to_be_visible()
