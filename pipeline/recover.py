"""Mend what DVC leaves if it is killed while it writes files of its own: it writes them in place.

    python -m pipeline.recover      `make repro` and `make demo` begin with it

Mends  dvc.lock               half written: what Git has of it comes back, DVC's run cache has what is newer
       .dvc/tmp/rwlock        half written, or a lock of a dvc that is gone, whose process id another program has now
       .dvc/tmp/exps/rwlock   the same of experiments
"""

import json
import re
import shutil
from pathlib import Path

import psutil
from dvc.exceptions import DvcException
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.rwlock import SCHEMA
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.strictyaml import load
from voluptuous import Invalid

from pipeline.errors import InputError
from pipeline.revisions import LOCK, git
from pipeline.stage import program


def recover() -> None:
    """Leave what is whole, and what a running dvc holds. Raises InputError outside a repository or if dvc is busy."""
    try:
        with Repo() as repo, repo.lock:  # held while dvc writes, not while a stage runs
            for folder in (Path(repo.tmp_dir), Path(repo.tmp_dir) / "exps"):
                mend_rwlock(folder, repo.config["core"].get("hardlink_lock", False))
            mend_lock(Path(LOCK), Path(repo.tmp_dir) / "lock.draft")
    except DvcException as error:
        raise InputError(" ".join(str(error).split())) from None


def mend_lock(path: Path, draft: Path) -> None:
    """Put the committed dvc.lock in the place of a broken one, which is kept as dvc.lock.broken.

    draft: where to write it first, on the same disk. Raises InputError for one with a merge conflict; it stays.
    """
    try:
        load(path, COMPILED_LOCKFILE_SCHEMA)
    except FileNotFoundError:
        return
    except DvcException:
        if re.search(rb"^<{7} ", path.read_bytes(), re.MULTILINE):
            remedy = f"choose a side, as `git checkout --ours {path}` does, then run again"
            raise InputError(f"{path}: a merge conflict is in it; {remedy}") from None
        shutil.copy(path, f"{path}.broken")
        if committed := git("show", f"HEAD:./{path}"):
            draft.write_text(committed, encoding="utf-8")
            draft.replace(path)
        else:
            path.unlink()
        print(f"{path}: broken, kept as {path}.broken; `dvc repro` makes a new one from its run cache")


def mend_rwlock(folder: Path, hardlink_lock: bool) -> None:
    """Leave in the folder's rwlock what processes hold that are at work. hardlink_lock: as DVC is configured."""
    path = folder / "rwlock"
    if not path.exists():
        return
    with make_lock(f"{path}.lock", tmp_dir=str(folder), hardlink_lock=hardlink_lock):  # as DVC while it edits the file
        try:
            lock = SCHEMA(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, Invalid):
            path.unlink()
            return
        write = {out: holder for out, holder in lock["write"].items() if _is_at_work(holder)}
        read = {dep: [holder for holder in holders if _is_at_work(holder)] for dep, holders in lock["read"].items()}
        path.write_text(json.dumps({"write": write, "read": {dep: held for dep, held in read.items() if held}}))


def _is_at_work(holder: dict) -> bool:
    """holder: the process id of a dvc and its command line."""
    try:
        running = psutil.Process(holder["pid"]).cmdline()
    except psutil.AccessDenied:  # another user's
        return True
    except psutil.Error:
        return False
    return " ".join(running).endswith(holder["cmd"].partition(" ")[2])  # `dvc` there may be `python -m dvc` here


if __name__ == "__main__":
    with program("recover"):
        recover()
