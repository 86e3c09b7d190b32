"""Write what the store lacks of DVC's outputs: runs, evaluations, versions."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dvc.api import DVCFileSystem

from pipeline.errors import InputError, one_line
from pipeline.inputs import content_md5
from pipeline.revisions import Revision, revisions
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import Origin
from pipeline.tracking.live import clear_live_runs
from pipeline.tracking.record import is_recorded, record
from pipeline.tracking.registry import register
from pipeline.tracking.results import Result, paths, result_in_lock
from pipeline.tracking.store import idempotent, store_faults, store_lock


def sync(wanted: list[str]) -> None:
    """Write the trainings of the work tree, then of these revisions, each once; a second time nothing is left to write.

    A run shows the first evaluation found. Raises InputError, at the end, if a training is in no cache or remote.
    """
    trees = revisions(wanted)
    found = [(tree, result) for tree in trees for task in TASKS if (result := result_in_lock(task, tree.stages))]
    found.sort(key=lambda one: not one[1].evaluation)
    is_stored = {result.condition: False for _, result in found}
    for tree, result in found:
        is_stored[result.condition] = is_stored[result.condition] or _is_stored(tree, result)
    with store_faults(), store_lock():
        idempotent(clear_live_runs)()
        for task in TASKS:
            idempotent(register)(task)
    stored, all_of_them = sum(is_stored.values()), len(is_stored)
    print(f"{all_of_them} trainings in dvc.lock, {stored} of them in the store")
    if stored < all_of_them:
        raise InputError(f"{all_of_them - stored} of {all_of_them} trainings could not be written, see above")


def _is_stored(revision: Revision, result: Result) -> bool:
    """Write what the store lacks of a result. Returns False, and prints why, where it cannot."""
    if is_recorded(result):
        return True
    md5s = result.training | result.evaluation
    outputs = {path: md5s[name] for name, path in paths(result.task).items() if name in md5s and name != "data_md5"}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            _export(revision, outputs, folder)
            record(result, Origin.restored(revision, result.task), folder)
        except InputError as error:
            print(f"{revision.name}: {result.task}: {error}", file=sys.stderr)
            return False
    print(f"{revision.name}: {result.task}: written")
    return True


def _export(revision: Revision, md5s: dict[Path, str], folder: Path) -> None:
    """Copy outputs of a revision from DVC's cache or remote to a folder laid out like the repository.

    md5s: those that dvc.lock names. Raises InputError for an output that is not to be had, or has another md5.
    """
    source = DVCFileSystem(rev=revision.commit or None)
    for path, md5 in md5s.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            source.get(str(path), str(folder / path), recursive=True)
        except Exception as error:  # DvcException, DataIndexDirError, OSError and others, by what is missing
            raise InputError(f"{path} is neither in DVC's cache nor in a remote: {one_line(error)}") from None
        if content_md5(folder / path) != md5:
            raise InputError(f"{path} is not what dvc.lock names; `dvc checkout` or `dvc repro` mends that")
