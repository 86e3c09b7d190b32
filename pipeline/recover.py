"""Repair what a kill can damage of DVC's own files, which DVC writes in place, and check params.yaml.

    python -m pipeline.recover      `make repro` and `make demo` begin with it

Repairs  .dvc/tmp/rwlock, .dvc/tmp/exps/rwlock   left by a dvc that is gone, or half written
         dvc.lock    half written: the committed one replaces it; DVC's run cache has what is newer
Removes  .dvc/tmp/exps/standalone       folders of experiments that were killed, each with a copy of their data
"""

import re
import shutil
from pathlib import Path

import psutil
from dvc.exceptions import DvcException
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.strictyaml import load

from pipeline.errors import InputError
from pipeline.outputs import replacing
from pipeline.params import load_params
from pipeline.revisions import LOCK, Revision, file_at
from pipeline.stage import program


def recover() -> None:
    """Repair DVC's files, unless a dvc works here. What is whole stays.

    Raises InputError outside a clone's root, for a merge conflict in dvc.lock, which stays, and for wrong parameters.
    """
    if not Path(".dvc").is_dir():
        raise InputError(f".dvc: no such folder in {Path.cwd()}; run in the root of a clone")
    if _is_dvc_at_work():
        print("a dvc works here: its files stay as they are")
    else:
        for rwlock in (".dvc/tmp/rwlock", ".dvc/tmp/exps/rwlock"):  # DVC keeps one while another process has its number
            Path(rwlock).unlink(missing_ok=True)
        shutil.rmtree(".dvc/tmp/exps/standalone", ignore_errors=True)  # what DVC needs of it, it makes again
        if Path(LOCK).exists():
            _repair_lock(Path(LOCK))
    load_params()  # DVC names a file that is missing, not the parameter that names no architecture


def _is_dvc_at_work() -> bool:
    """Return whether a dvc runs in this folder or below it, or in one that the system hides, or an experiment runs."""
    here = Path.cwd()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        folder, is_dvc = process.info["cwd"], "dvc" in [Path(part).name for part in process.info["cmdline"] or ()]
        place = here if is_dvc else here / ".dvc/tmp/exps"  # where DVC's own interface runs them, too
        if Path(folder).is_relative_to(place) if folder else is_dvc:
            return True
    return False


def _repair_lock(path: Path) -> None:
    try:
        load(path, COMPILED_LOCKFILE_SCHEMA)  # private; two of three cuts that DVC refuses are YAML
    except DvcException:
        if re.search(rb"^<{7} ", path.read_bytes(), re.MULTILINE):
            remedy = f"choose a side, as `git checkout --ours {path}` does, then run again"
            raise InputError(f"{path}: a merge conflict is in it; {remedy}") from None
        committed = Path(".git").exists() and file_at(Revision("HEAD", "HEAD", {}), str(path))  # first, as Git may fail
        path.replace(f"{path}.broken")
        if committed:
            with replacing(path) as draft:
                draft.write_text(committed, encoding="utf-8")
        print(f"{path}: broken, kept as {path}.broken; `dvc repro` makes a new one from its run cache")


if __name__ == "__main__":
    with program("recover"):
        recover()
