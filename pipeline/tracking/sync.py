"""Write what the store lacks of DVC's outputs: runs, evaluations, versions."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.api import DVCFileSystem

from pipeline.errors import InputError, one_line
from pipeline.inputs import content_md5
from pipeline.paths import PREPARED
from pipeline.revisions import Revision, revisions
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Origin
from pipeline.tracking.live import clear_live_runs
from pipeline.tracking.record import is_recorded, record
from pipeline.tracking.registry import mend
from pipeline.tracking.results import Result, paths, result_in_lock
from pipeline.tracking.store import StoreError, store_faults, store_lock


class Unavailable(InputError):
    """Outputs that dvc.lock names cannot be had, in one line."""


def sync(wanted: list[str]) -> None:
    """Write the trainings of the work tree, then of these revisions, each once; a second time nothing is left to write.

    A run shows the first evaluation found. Raises InputError, at the end, if a training is in no cache or remote.
    """
    written: dict[str, bool] = {}
    evaluated: set[str] = set()
    for revision in revisions(wanted):
        for task in TASKS:
            result = result_in_lock(task, revision.stages)
            if result and result.condition not in evaluated:
                done = _sync_result(revision, result)
                written[result.condition] = done is not None or written.get(result.condition, False)
                evaluated |= {result.condition} if done else set()
    with store_faults(), store_lock():
        clear_live_runs()
        for task in TASKS:
            mend(task)
    found, missing = len(written), len(written) - sum(written.values())
    print(f"{found} trainings in dvc.lock, {found - missing} of them in the store")
    if missing:
        raise InputError(f"{missing} of {found} trainings could not be written, see above")


def _sync_result(revision: Revision, result: Result) -> dict[str, str] | None:
    """Return the evaluation that the store has now, empty without one; None where the training could not be had."""
    if is_recorded(result):
        return result.evaluation
    task, where = result.task, paths(result.task)
    training = {where[name]: result.training[name] for name in ("model_md5", "history_md5")}
    evaluation = {where[name]: md5 for name, md5 in result.evaluation.items()}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not _is_exported(revision, task, training | {PREPARED / task / "samples.csv": ""}, folder):
            return None
        if not _is_exported(revision, f"{task}, its evaluation", evaluation, folder):
            result = Result(task, result.params, result.training, {})
        if not is_recorded(result):
            try:
                record(result, Origin.restored(revision, task), folder)
            except StoreError as error:
                print(f"{revision.name}: {task}: {error}", file=sys.stderr)
                return None
            print(f"{revision.name}: {task}: written")
    return result.evaluation


def _is_exported(revision: Revision, what: str, md5s: dict[Path, str], folder: Path) -> bool:
    try:
        export(DVCFileSystem(rev=revision.commit or None), md5s, folder)
    except Unavailable as error:
        print(f"{revision.name}: {what}: {error}", file=sys.stderr)
        return False
    return True


def export(source: DVCFileSystem, md5s: dict[Path, str], folder: Path) -> None:
    """Copy files of a revision from DVC's cache or remote to a folder laid out like the repository.

    md5s: those that dvc.lock names, "" for a part of an output. Raises Unavailable for a file that is not to be had, or
    is not what dvc.lock names.
    """
    for path, md5 in md5s.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            source.get(str(path), str(folder / path), recursive=True)
        except Exception as error:  # DvcException, DataIndexDirError, OSError and others, by what is missing
            raise Unavailable(f"{path} is neither in DVC's cache nor in a remote: {one_line(error)}") from None
        if md5 and content_md5(folder / path) != md5:
            raise Unavailable(f"{path} is not what dvc.lock names; `dvc checkout` or `dvc repro` mends that")
