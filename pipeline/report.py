"""The retraining report: what a change of parameters, data or code did, in Markdown for its reviewer.

    python -m pipeline.report [--base REV] [--fail-on-regression]

Reads   params.yaml, dvc.lock and data/metrics/, here and at a commit, branch, tag or experiment: by default HEAD;
        the MLflow store
Prints  tables, a verdict on each metric, and pictures by their paths from the repository's root
Exits   with 0; with 1 on bad input, or if --fail-on-regression finds a test metric worse beyond its interval, or gone
"""

import argparse

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipeline.errors import InputError, one_line
from pipeline.paths import MODELS
from pipeline.reporting.differences import params_table, pictures, stages_table
from pipeline.reporting.verdicts import metrics_table, summary
from pipeline.revisions import Revision, git, is_unedited, revisions
from pipeline.stage import program
from pipeline.tasks import TASKS
from pipeline.tracking.registry import standing
from pipeline.tracking.store import StoreError


def report(base: str) -> list[str]:
    """Print the report against a base. Returns the names of the test metrics that are worse, or gone.

    Raises InputError for a base that is no revision, or if a stage has not run since its inputs changed.
    """
    after, before = revisions([base])
    check_reproduced()
    metrics = metrics_table(before, after)
    print(f"# Retraining report\n\n{summary(metrics, before)}\n")
    show_sides(base, before, after)
    show("Parameters", params_table(before, after))
    show("Stages", stages_table(before, after))
    note = "Intervals: 95 %, over test pictures, of one training. Within noise: they overlap."
    show("Metrics", metrics.drop(columns="headline"), note)
    shown = [f"![{path.parent.name}: {path.stem}]({path.as_posix()})" for path in pictures(before, after)]
    print("## Pictures", *(shown or ["None."]), sep="\n\n", end="\n\n")
    try:
        show("Models", models_table(after))
    except StoreError as error:
        print(f"## Models\n\n{error}\n")
    return list(metrics["metric"][metrics["headline"] & metrics["verdict"].isin(["worse", "gone"])])


def check_reproduced() -> None:
    """Raise InputError where dvc.lock is not what the work tree gives: its numbers would be those of another change."""
    try:
        with Repo() as repo:
            stale = list(repo.status())
    except DvcException as error:
        raise InputError(one_line(error)) from None
    if stale:
        remedy = "`dvc repro` first, where a remote has it `dvc repro --pull`"
        raise InputError(f"not up to date: {', '.join(stale)}; {remedy}")


def show_sides(base: str, before: Revision, after: Revision) -> None:
    """Print what is compared, and what of it a reader would not expect."""
    name = "" if before.commit.startswith(base) else f"`{base}`, "
    changes = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    print(f"Base: {name}{subject(before.commit)}. Here: {subject('HEAD')}{changes}.\n")
    if before.stages and not is_unedited(before, *before.stages):
        print("The base's results are of other code, packages or parameters than it has now.\n")


def subject(commit: str) -> str:
    """Return a commit's number and the first line of its message, as code: it may hold anything."""
    return f"`{git('log', '--max-count=1', '--format=%h %s', commit).strip().replace('`', ' ')}`"


def show(title: str, table: pd.DataFrame, note: str = "") -> None:
    """Print a table under a heading."""
    cells = table.map(lambda cell: " ".join(str(cell).split()).replace("|", r"\|").replace("<", "&lt;"))
    body = cells.to_markdown(index=False, disable_numparse=True) if len(table) else "No differences."
    print(f"## {title}\n\n{body}\n" + (f"\n{note}\n" if note and len(table) else ""))


def models_table(after: Revision) -> pd.DataFrame:
    """Return the version and the run of each checkpoint here, and whether it is, or would become, champion.

    Raises StoreError.
    """
    rows = [[f"pets-{task}", *standing(task, after.outputs[str(MODELS / f"{task}.keras")])] for task in TASKS]
    return pd.DataFrame(rows, columns=["model", "version", "MLflow run", "would become champion"])


def main() -> None:
    """Exit 0, 1 with a line on stderr for bad input or a regression, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description=__doc__.splitlines()[0])
    base = "commit, branch, tag or experiment; default: HEAD"
    parser.add_argument("--base", default="HEAD", metavar="REV", help=base)
    regression = "exit 1 if a test metric is worse beyond its interval, or gone"
    parser.add_argument("--fail-on-regression", action="store_true", help=regression)
    given = parser.parse_args()
    with program("report"):
        worse = report(given.base)
        if worse and given.fail_on_regression:
            raise InputError(f"worse than {given.base} beyond its interval, or gone: {', '.join(worse)}")


if __name__ == "__main__":
    main()
