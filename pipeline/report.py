"""The retraining report: what a change of parameters, data or code did, in Markdown for its reviewer.

    python -m pipeline.report [--base REV] [--fail-on-regression]

Reads   params.yaml, dvc.lock, data/metrics/, here and at a commit, branch, tag or experiment: HEAD if none is named;
        the times of stages under .training/; the MLflow store
Prints  tables, each metric with a verdict; pictures by their paths from the repository's root
Exits   with 0; with 1 on bad input, or if --fail-on-regression finds a test metric worse beyond its interval, or gone
"""

import argparse
from collections.abc import Iterable

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipeline.differences import NOTHING, metrics_table, overrides, params_table, pictures, stages_table
from pipeline.errors import InputError
from pipeline.revisions import Revision, git, is_unedited, revisions
from pipeline.stage import program
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import training_in_lock
from pipeline.tracking.registry import CHAMPION, outlook, versions_of
from pipeline.tracking.search import find_training
from pipeline.tracking.store import StoreError, store_faults

VERDICTS = ("worse", "gone", "other data", "no interval", "better", "within noise", "new")  # as the summary has them


def report(base: str) -> list[str]:
    """Print the report against a base. Returns the names of the test metrics that are worse, or gone.

    Raises InputError for a base that is no revision, or a stage that has not run as the work tree now is.
    """
    after, before = revisions([base])
    check_reproduced()
    metrics = metrics_table(before, after)
    stages = stages_table(before, after)
    print(f"# Retraining report\n\n{summary(metrics, before)}\n")
    show_sides(base, before, after)
    show("Parameters", params_table(before, after))
    show("Stages", stages, "Of a training that was interrupted: the seconds since it was last started.")
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
    """Raise InputError where dvc.lock is not what the work tree gives: figures would be those of another change."""
    try:
        with Repo() as repo:
            stale = list(repo.status())
    except DvcException as error:
        raise InputError(" ".join(str(error).split())) from None
    if stale:
        raise InputError(
            f"not up to date: {', '.join(stale)}; `dvc repro` first, where a remote has it `dvc repro --pull`"
        )


def show_sides(base: str, before: Revision, after: Revision) -> None:
    """Print what is compared, and what of it a reader would not expect."""
    name = "" if before.commit.startswith(base) else f"`{base}`, "
    print(f"Base: {name}{subject(before.commit)}. Here: {here()}.\n")
    if before.stages and not is_unedited(before, *before.stages):
        print("The base's results are of other code, packages or parameters than it has now.\n")
    if hidden := overrides(before, after):
        print(f"Set on both sides, so that what a commit says of it is not seen here: {', '.join(hidden)}.\n")


def here() -> str:
    """The commit of the work tree, and whether it differs."""
    changes = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{subject('HEAD')}{changes}"


def subject(commit: str) -> str:
    """A commit's number and the first line of its message, as code: it may hold anything."""
    return f"`{git('log', '--max-count=1', '--format=%h %s', commit).strip().replace('`', ' ')}`"


def summary(metrics: pd.DataFrame, before: Revision) -> str:
    """One sentence for each verdict that counts."""
    if not before.stages:
        return "**No comparison**: the base has no results."
    said = {verdict: list(rows["metric"]) for verdict, rows in metrics[metrics["headline"]].groupby("verdict")}
    in_order = [verdict for verdict in VERDICTS if verdict in said]
    lines = [f"**{verdict.capitalize()}**: {', '.join(said[verdict])}." for verdict in in_order]
    return " ".join(lines) or "**No test metric has changed.**"


def show(title: str, table: pd.DataFrame, note: str = "") -> None:
    """Print a table under a heading."""
    cells = table.map(lambda cell: " ".join(str(cell).split()).replace("|", r"\|").replace("<", "&lt;"))
    body = cells.to_markdown(index=False, disable_numparse=True) if len(table) else "No differences."
    print(f"## {title}\n\n{body}\n" + (f"\n{note}\n" if note and len(table) else ""))


def models_table(after: Revision) -> pd.DataFrame:
    """The version and the run of each checkpoint here; whether it is, or would become, champion. Raises StoreError."""
    with store_faults():
        rows = [(f"pets-{task}", *_model(task, after)) for task in TASKS]
    return pd.DataFrame(rows, columns=["model", "version", "MLflow run", f"would become {CHAMPION}"])


def _model(task: str, after: Revision) -> Iterable[str]:
    training = training_in_lock(task, after.stages)
    run = find_training(training) if training else None
    versions = {version.tags["model_md5"]: version for version in versions_of(task)}
    version = versions.get(training.outputs["model_md5"]) if training else None
    if run is None or version is None:
        return NOTHING, "not in the store, `python -m pipeline.tracking sync` writes it", NOTHING
    return version.version, run.info.run_id, outlook(task, version)


def main() -> None:
    """Exit 0, 1 with a line on stderr for bad input or a regression, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--base", default="HEAD", metavar="REV", help="commit, branch, tag or experiment; default: HEAD"
    )
    parser.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit 1 if a test metric is worse beyond its interval, or gone",
    )
    given = parser.parse_args()
    with program("report"):
        worse = report(given.base)
        if worse and given.fail_on_regression:
            raise InputError(f"worse than {given.base} beyond its interval, or gone: {', '.join(worse)}")


if __name__ == "__main__":
    main()
