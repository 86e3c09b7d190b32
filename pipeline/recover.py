"""Repair what a kill can damage of DVC's own files, which DVC writes in place.

    python -m pipeline.recover      `make repro` and `make demo` begin with it

Repairs  dvc.lock               half written: the committed one replaces it; DVC's run cache has what is newer
         .dvc/tmp/rwlock        half written, or left by a dvc that is gone
         .dvc/tmp/exps/rwlock   the same, of experiments
"""

import re
import shutil
from pathlib import Path

import psutil
from dvc.exceptions import DvcException
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.strictyaml import load

from pipeline.errors import InputError, one_line
from pipeline.outputs import replacing
from pipeline.revisions import LOCK, Revision, file_at
from pipeline.stage import program


def recover() -> None:
    """Leave what is whole, and what a running dvc holds.

    Raises InputError outside a repository, while dvc is busy, or for a merge conflict in dvc.lock, which stays.
    """
    try:
        with Repo() as repo, repo.lock:  # dvc holds it while it writes, not while a stage runs
            for folder in (Path(repo.tmp_dir), Path(repo.tmp_dir) / "exps"):
                _repair_rwlock(folder / "rwlock", repo.config["core"].get("hardlink_lock", False))
            _repair_lock(Path(LOCK))
    except DvcException as error:
        raise InputError(one_line(error)) from None


def _repair_lock(path: Path) -> None:
    if not path.exists():
        return
    try:
        load(path, COMPILED_LOCKFILE_SCHEMA)  # private; two of three cuts that DVC refuses are YAML
    except DvcException:
        if re.search(rb"^<{7} ", path.read_bytes(), re.MULTILINE):
            remedy = f"choose a side, as `git checkout --ours {path}` does, then run again"
            raise InputError(f"{path}: a merge conflict is in it; {remedy}") from None
        committed = file_at(Revision("HEAD", "HEAD", {}), str(path))
        shutil.copy(path, f"{path}.broken")
        if committed:
            with replacing(path) as draft:
                draft.write_text(committed, encoding="utf-8")
        else:
            path.unlink()
        print(f"{path}: broken, kept as {path}.broken; `dvc repro` makes a new one from its run cache")


def _repair_rwlock(path: Path, hardlink_lock: bool) -> None:
    """Remove a lock that no dvc holds. DVC itself drops a holder only while no other process has its number.

    hardlink_lock: as DVC is configured.
    """
    if path.exists():
        with make_lock(f"{path}.lock", tmp_dir=str(path.parent), hardlink_lock=hardlink_lock):  # as DVC, to edit it
            holders = re.findall(r'"pid": (\d+)', path.read_text(encoding="utf-8", errors="replace"))
            if not any(_is_dvc(int(holder)) for holder in holders):
                path.unlink()


def _is_dvc(process: int) -> bool:
    """Return whether a process of this number is a dvc, or one that this user may not look at."""
    try:
        return "dvc" in [Path(part).name for part in psutil.Process(process).cmdline()]
    except psutil.Error as error:
        return isinstance(error, psutil.AccessDenied)


if __name__ == "__main__":
    with program("recover"):
        recover()
