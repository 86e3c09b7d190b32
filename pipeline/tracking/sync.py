"""Write what the store lacks of DVC's outputs: runs, evaluations, versions."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.api import DVCFileSystem

from pipeline.stage import HISTORY, METRICS, MODELS, PLOTS, PREPARED, TASKS, InputError
from pipeline.tracking.lineage import Training, evaluation_in_files, evaluation_in_lock, training_in_lock
from pipeline.tracking.record import is_recorded, record
from pipeline.tracking.registry import mend
from pipeline.tracking.revisions import Revision, code_matches, revisions
from pipeline.tracking.runs import GIT_COMMIT, close_dead_runs
from pipeline.tracking.store import store_faults, store_lock


class Unavailable(Exception):
    """Outputs that dvc.lock names cannot be had, in one line."""


def sync(wanted: list[str]) -> None:
    """Write the trainings of the work tree, then of these revisions, each once; a second time nothing is left to write.

    A run shows the first evaluation found. Raises InputError, at the end, if outputs are in no cache or remote.
    """
    written: dict[str, bool] = {}
    evaluated: set[str] = set()
    for revision in revisions(wanted):
        for task in TASKS:
            training = training_in_lock(task, revision.stages)
            if training and training.condition not in evaluated:
                evaluation = evaluation_in_lock(training, revision.stages)
                done = _sync_training(revision, training, evaluation)
                written[training.condition] = done or written.get(training.condition, False)
                evaluated |= {training.condition} if done and evaluation else set()
    for task in TASKS:
        with store_faults(), store_lock():
            close_dead_runs(task)
            print("".join(f"{line}\n" for line in mend(task)), end="")
    found, missing = len(written), len(written) - sum(written.values())
    print(f"{found} trainings in dvc.lock, {found - missing} of them in the store")
    if missing:
        raise InputError(f"{missing} of {found} trainings could not be written, see above")


def _sync_training(revision: Revision, training: Training, evaluation: dict[str, str]) -> bool:
    """Whether the store has it now."""
    if is_recorded(training, evaluation):
        return True
    tags = {"restored_from": revision.name}
    if not code_matches(revision, f"train_{training.task}"):
        tags[GIT_COMMIT] = f"unknown, the code in {revision.name} is not what dvc.lock names"
    elif revision.commit:
        tags[GIT_COMMIT] = revision.commit
    if revision.is_experiment:
        tags["dvc_experiment"] = revision.name
    try:
        with exported(revision, training, evaluation) as folder:
            record(training, evaluation, tags, folder)
    except Unavailable as error:
        print(f"{revision.name}: {training.task}: {error}", file=sys.stderr)
        return False
    print(f"{revision.name}: {training.task}: written")
    return True


@contextmanager
def exported(revision: Revision, training: Training, evaluation: dict[str, str]) -> Iterator[Path]:
    """A temporary folder with a revision's files, laid out like the repository, from DVC's cache or remote.

    Raises Unavailable where they are not to be had, or are not what dvc.lock names.
    """
    task = training.task
    paths = [PREPARED / task / "samples.csv", MODELS / f"{task}.keras", HISTORY / f"{task}.csv"]
    paths += [METRICS / f"{task}.json", PLOTS / task] if evaluation else []
    files = DVCFileSystem(rev=revision.commit or None)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                files.get(str(path), str(folder / path), recursive=True)
            except Exception as error:  # DvcException, DataIndexDirError, OSError and others, by what is missing
                reason = " ".join(str(error).split())
                raise Unavailable(f"{path} is neither in DVC's cache nor in a remote: {reason}") from None
        found = training.finished(folder).outputs | (evaluation_in_files(task, folder) if evaluation else {})
        if found != training.outputs | evaluation:
            raise Unavailable("the files are not those that dvc.lock names; `dvc checkout` or `dvc repro` mends that")
        yield folder
