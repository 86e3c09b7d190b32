"""Whether a revision's stages give here, too, what its dvc.lock names.

    python -m pipeline.verify [REV]     a commit, branch, tag or DVC experiment; HEAD if none is named

Runs    `dvc repro --force` in a temporary clone, whose cache and MLflow store go with it: nothing here changes
Reads   the official archives from DVC's cache or a remote, else as the stage download does
Prints  the packages that are not as pinned; for each output identical or differs; the metrics that differ
Exits   with 0 if all outputs are identical, with 1 if not
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml
from dvc.api import DVCFileSystem
from packaging.requirements import Requirement

from pipeline.stage import RAW, InputError, program, root
from pipeline.tracking.revisions import LOCK, Revision, git, revisions
from pipeline.tracking.sync import Unavailable, export

CONFIG = "[core]\n    site_cache_dir = {0}/site\n[cache]\n    dir = {0}/cache\n"  # stronger than a shared cache's


def verify(name: str) -> bool:
    """Rerun a revision's stages and print how each output compares. Returns whether all are identical.

    Raises InputError for a revision that is none or has no whole dvc.lock, or a stage that fails.
    """
    _, found = revisions([name])
    with TemporaryDirectory(prefix="verify-") as temporary:
        folder = Path(temporary)
        clone = check_out(found, folder)
        print(other_packages(clone / "requirements.txt"), flush=True)
        rerun(clone, archives(found, folder))
        return report(found, clone)


def check_out(found: Revision, folder: Path) -> Path:
    """A clone at the revision. Raises InputError if dvc.lock lacks a stage of dvc.yaml there."""
    clone = folder / "clone"
    for command in (
        ("clone", "--quiet", "--shared", "--no-checkout", ".", str(clone)),  # shared: an experiment is on no branch
        ("-C", str(clone), "checkout", "--quiet", "--detach", found.commit),
    ):
        done = subprocess.run(["git", *command], capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise InputError(f"{found.name}: git {' '.join(command)}: {' '.join(done.stderr.split())}")
    try:
        stages = yaml.safe_load((clone / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        raise InputError(f"{found.name}: no dvc.yaml with stages in it") from None
    if missing := [stage for stage in stages if stage not in found.stages]:
        raise InputError(f"{found.name}: no {LOCK} with {', '.join(missing)} in it; `dvc repro` and a commit make one")
    (clone / ".dvc/config.local").write_text(CONFIG.format(folder))
    return clone


def other_packages(pins: Path) -> str:
    """A line that names what is installed in another version than pinned: the likeliest cause of other bytes."""
    lines = pins.read_text(encoding="utf-8").splitlines() if pins.exists() else []
    others = []
    for one in (Requirement(line) for line in lines if line and line[0] not in " #"):
        with suppress(PackageNotFoundError):  # what is not even installed is not used
            is_meant = one.marker is None or one.marker.evaluate()  # for this Python and this system
            if is_meant and not one.specifier.contains(version(one.name)):
                others.append(f"{one.name} {version(one.name)} instead of {one.specifier}")
    return f"packages: {', '.join(others) or 'as pinned'}"


def archives(found: Revision, folder: Path) -> str:
    """PETS_SOURCE: the folder, with what DVC has of the official archives, else the user's own, "" for none."""
    source = os.environ.get("PETS_SOURCE", "")
    if source and "://" not in source:
        source = str(root() / os.path.expanduser(source))  # noqa: PTH111 - as in the stage download
    if "official" not in str(found.stages.get("download", {}).get("params")):  # else drawn, or of another layout
        return source
    raw = {Path(path): md5 for path, md5 in outputs(found.stages).items() if Path(path).parent == RAW}
    try:
        export(DVCFileSystem(rev=found.commit), raw, folder)
    except Unavailable as error:
        print(f"{error}; downloading", flush=True)
        return source
    return str(folder / RAW)


def rerun(clone: Path, source: str) -> None:
    """`dvc repro --force` with this Python's environment. Raises InputError if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    around = os.environ | {"PATH": path, "PETS_SOURCE": source, "TMPDIR": str(clone.parent)}
    command = [sys.executable, "-m", "dvc", "repro", "--force"]
    with subprocess.Popen(command, cwd=clone, env=around, stdin=subprocess.DEVNULL, start_new_session=True) as dvc:
        try:
            dvc.wait()
        finally:
            with suppress(ProcessLookupError):  # nothing of it is left, unless Ctrl-C or SIGTERM came
                os.killpg(dvc.pid, signal.SIGKILL)
    if dvc.returncode:
        raise InputError("a stage failed, see above")


def outputs(stages: dict[str, Any]) -> dict[str, str]:
    """The md5 of every output, by its path."""
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def report(found: Revision, clone: Path) -> bool:
    """Print how each output compares. Returns whether all are identical."""
    locked = outputs(found.stages)
    made = outputs(yaml.safe_load((clone / LOCK).read_text(encoding="utf-8"))["stages"])
    identical = 0
    for path, md5 in locked.items():
        metrics = git("show", f"{found.commit}:./{path}") if path.endswith(".json") else ""
        if md5 == made.get(path) and (not metrics or hashlib.md5(metrics.encode()).hexdigest() == md5):
            print(f"identical  {path}")
            identical += 1
        else:
            print(f"differs    {path}")
            with suppress(ValueError, FileNotFoundError):  # what is no JSON, or is made no more, has no metrics
                print(differences(metrics, (clone / path).read_text(encoding="utf-8")))
    print(f"{found.name}: {identical} of {len(locked)} outputs are identical")
    return identical == len(locked)


def differences(old: str, new: str) -> str:
    """A table of the metrics, in JSON, that differ. Raises ValueError for what is no JSON."""
    there, here = (pd.json_normalize(json.loads(text)).T[0] for text in (old, new))
    table = pd.DataFrame({"there": there, "here": here}).apply(pd.to_numeric, errors="coerce")
    table = table.assign(difference=table["here"] - table["there"])
    return table.loc[table["there"].compare(table["here"]).index].to_markdown(tablefmt="plain", floatfmt=".9g")


def main() -> None:
    """Exit 0 if all is identical, 1 with a line on stderr for bad input, 1 if not all is, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.verify", description=__doc__.splitlines()[0])
    parser.add_argument("revision", nargs="?", default="HEAD", metavar="REV", help="commit, branch, tag or experiment")
    name = parser.parse_args().revision
    with program("verify"):
        for variable in ("MLFLOW_TRACKING_URI", *git("rev-parse", "--local-env-vars").split()):
            os.environ.pop(variable, None)  # another store, another repository than the clone's
        sys.exit(0 if verify(name) else 1)


if __name__ == "__main__":
    main()
