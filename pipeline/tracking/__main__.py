"""Look at the store, and keep it equal to what DVC holds.

python -m pipeline.tracking sync [REV ...] [--all-commits]
python -m pipeline.tracking show MODEL_OR_RUN
python -m pipeline.tracking compare [RUN ...] [--out FILE.csv | FILE.md]
"""

import argparse
from pathlib import Path

from pipeline.stage import program
from pipeline.tracking.compare import compare
from pipeline.tracking.revisions import all_commits
from pipeline.tracking.show import show
from pipeline.tracking.store import store_faults
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
    return parser.parse_args()


def main() -> None:
    given = arguments()
    with program(given.command), store_faults():
        if given.command == "sync":
            sync([*given.revision, *(all_commits() if given.all_commits else [])])
        elif given.command == "show":
            show(given.run)
        else:
            compare(given.run, given.out)


if __name__ == "__main__":
    main()
