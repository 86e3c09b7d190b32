"""Keep the MLflow store equal to what DVC holds.

python -m pipeline.tracking sync [REV ...] [--all-commits]
python -m pipeline.tracking promote REV
python -m pipeline.tracking links ADDRESS
"""

import argparse

from pipeline.errors import InputError, without_secrets
from pipeline.revisions import all_commits, revisions
from pipeline.stage import program
from pipeline.tasks import TASKS
from pipeline.tracking import registry
from pipeline.tracking.results import result_in_lock
from pipeline.tracking.store import connect, store_faults, store_lock
from pipeline.tracking.sync import sync
from pipeline.tracking.views import charts_page


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.tracking")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("sync", help="write what the store lacks of DVC's outputs")
    command.add_argument("revision", nargs="*", help="commits, branches, tags, experiments; the work tree always")
    command.add_argument("--all-commits", action="store_true", help="every commit and every experiment")
    command = commands.add_parser("promote", help="make what CI has trained a candidate for champion")
    command.add_argument("revision", metavar="REV", help="the commit, branch, tag or experiment with its dvc.lock")
    command = commands.add_parser("links", help="print where MLflow's UI shows the charts of each task")
    command.add_argument("address", help="of the UI, such as http://127.0.0.1:5000")
    return parser.parse_args()


def promote(name: str) -> None:
    """Print what has become of each task's checkpoint. Raises InputError for a revision without a training."""
    _, revision = revisions([name])
    results = [found for task in TASKS if (found := result_in_lock(task, revision.stages))]
    if not results:
        raise InputError(f"{name}: its dvc.lock names no training")
    with store_lock():
        for result in results:
            connect(result.task)
            verdict = registry.promote(result.task, result.training["model_md5"])
            print(f"pets-{result.task}: {name}: {verdict}")


def links(address: str) -> None:
    """Print the page of charts of each task. It opens without MLflow's window for new users."""
    for task in TASKS:
        print(f"pets-{task}: {without_secrets(address).rstrip('/')}/{charts_page(connect(task))}")


def main() -> None:
    given = arguments()
    with program(given.command), store_faults():
        if given.command == "sync":
            sync([*given.revision, *(all_commits() if given.all_commits else [])])
        elif given.command == "promote":
            promote(given.revision)
        else:
            links(given.address)


if __name__ == "__main__":
    main()
