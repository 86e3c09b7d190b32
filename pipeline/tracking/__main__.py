"""Look at the store, and keep it equal to what DVC holds.

python -m pipeline.tracking sync [REV ...] [--all-commits]
python -m pipeline.tracking show MODEL_OR_RUN
python -m pipeline.tracking compare [RUN ...] [--out FILE.csv | FILE.md]
python -m pipeline.tracking promote MODEL_OR_RUN
"""

import argparse
from pathlib import Path

from pipeline.revisions import all_commits
from pipeline.stage import program
from pipeline.tracking import registry
from pipeline.tracking.compare import compare
from pipeline.tracking.search import named_runs
from pipeline.tracking.show import show
from pipeline.tracking.store import store_faults, store_lock
from pipeline.tracking.sync import sync


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.tracking")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("sync", help="write what the store lacks of DVC's outputs")
    command.add_argument("revision", nargs="*", help="commits, branches, tags, experiments; the work tree always")
    command.add_argument("--all-commits", action="store_true", help="every commit and every experiment")
    run = "id, name, DVC experiment, md5 in dvc.lock, data/models/TASK.keras, or models:/pets-TASK@champion"
    command = commands.add_parser("show", help="what a checkpoint or run was made of, and where it is")
    command.add_argument("run", metavar="MODEL_OR_RUN", help=run)
    command = commands.add_parser("compare", help="runs side by side; all finished ones if none is named")
    command.add_argument("run", nargs="*", metavar="RUN", help=run)
    command.add_argument("--out", type=Path, help="a .csv or .md file")
    command = commands.add_parser("promote", help="let what CI has trained become champion, if it is better")
    command.add_argument("run", metavar="MODEL_OR_RUN", help=run)
    return parser.parse_args()


def promote(name: str) -> None:
    """Print what has become of each task's run. Raises InputError for a name that means none."""
    with store_lock():
        for task, runs in named_runs(name).items():
            for run in runs:
                print(f"pets-{task}: {run.info.run_name}: {registry.promote(task, run)}")


def main() -> None:
    given = arguments()
    with program(given.command), store_faults():
        if given.command == "sync":
            sync([*given.revision, *(all_commits() if given.all_commits else [])])
        elif given.command == "show":
            show(given.run)
        elif given.command == "promote":
            promote(given.run)
        else:
            compare(given.run, given.out)


if __name__ == "__main__":
    main()
