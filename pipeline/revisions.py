"""The repository's side: what dvc.lock held in the work tree, in commits and in experiments."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.utils.serialize import YAMLFileCorruptedError, dumps_yaml, parse_yaml

from pipeline.errors import InputError

T = TypeVar("T")
LOCK = "dvc.lock"
DECIDE = ("pipeline", "params.yaml", "dvc.yaml", "requirements.txt")  # a training, with the data


@dataclass(frozen=True)
class Revision:
    """A dvc.lock: its `stages`, and the commit that holds it, "" for the work tree. Named for people."""

    name: str
    commit: str
    stages: dict[str, Any]
    is_experiment: bool = False


def git(*arguments: str, **variables: str) -> str:
    """What a git command prints; nothing where it fails, as outside a repository. variables: of its environment."""
    try:
        done = subprocess.run(["git", *arguments], env=os.environ | variables, capture_output=True)
    except FileNotFoundError:
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""  # line ends as they are


def uncommitted() -> tuple[list[str], str]:
    """The files that decide a training and differ from HEAD, new ones included; how they differ, for `git apply`."""
    with TemporaryDirectory() as folder:  # another index than the user's
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        git("read-tree", "HEAD", **index)
        git("add", "--all", "--", *filter(os.path.exists, DECIDE), **index)
        plain = ("diff", "--cached", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")
        names = git(*plain, "--name-only", "-z", "HEAD", **index).split("\0")[:-1]
        return names, git(*plain, "--binary", "HEAD", **index)


def is_unedited(revision: Revision, *names: str) -> bool:
    """Whether a revision has the code, packages and parameters that its dvc.lock names for some stages."""
    with suppress(YAMLFileCorruptedError, KeyError, TypeError):  # a stage or a section that is in only one of the two
        text = dumps_yaml(parse_yaml(file_at(revision, "params.yaml"), "params.yaml"))
        params = yaml.load(text, yaml.CSafeLoader)  # written by DVC and read as dvc.lock is: 0.00001 is 1e-05 in both
        for stage in (revision.stages[name] for name in names):
            code = {dep["path"]: dep["md5"] for dep in stage.get("deps", ()) if not dep["path"].startswith("data/")}
            found = {path: hashlib.md5(file_at(revision, path).encode()).hexdigest() for path in code}
            locked = stage.get("params", {}).get("params.yaml", {})
            if (code, locked) != (found, {key: reduce(getitem, key.split("."), params) for key in locked}):
                return False
        return True
    return False


def stored_outputs(name: str) -> dict[str, str]:
    """The md5s of a stage's outputs, by path, if dvc.lock names them and DVC's cache has them; else nothing."""

    def answer(stage: Stage) -> dict[str, str]:
        return {out.def_path: out.hash_info.value for out in stage.outs} if stage.outs_cached() else {}

    return _ask(name, answer) or {}


def is_up_to_date(name: str) -> bool:
    """Whether DVC's cache has the outputs of a stage for its command, parameters and files as they are now."""
    return _ask(name, lambda stage: stage.outs_cached() and stage.deps_cached() and not stage.changed_stage()) is True


def _ask(name: str, question: Callable[[Stage], T]) -> T | None:
    """What DVC says of a stage of dvc.yaml; None if there is none, as outside a repository."""
    try:
        with Repo() as repo:
            return question(repo.stage.load_one(name=name))
    except DvcException:
        return None


def file_at(revision: Revision, path: str) -> str:
    """The text of a file at a revision, "" where it has none."""
    if revision.commit:
        return git("show", f"{revision.commit}:./{path}")
    return Path(path).read_bytes().decode(errors="replace") if Path(path).exists() else ""


def experiments() -> dict[str, str]:
    """The commit of each DVC experiment, by name."""
    refs = [line.split() for line in git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()]
    return {ref.split("/")[-1]: commit for commit, ref in refs if ref.count("/") == 4}  # refs/exps/12/34.../NAME


def work_tree() -> Revision:
    """What lies here, whether committed or not."""
    text = Path(LOCK).read_text(encoding="utf-8") if Path(LOCK).exists() else ""
    return Revision("work tree", "", _stages(text, "work tree"))


def revision(name: str) -> Revision | None:
    """A commit, branch, tag or experiment; None if there is none of this name."""
    named = experiments()
    commit = named.get(name) or git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    return Revision(name, commit, _stages(git("show", f"{commit}:./{LOCK}"), name), name in named) if commit else None


def revisions(wanted: list[str]) -> list[Revision]:
    """The work tree, then these commits, branches, tags, experiments. Raises InputError for one that does not exist."""
    found = {name: revision(name) for name in wanted}
    for name, there in found.items():
        if there is None:
            raise InputError(f"{name}: no commit, branch, tag or experiment of this repository")
    return [work_tree(), *found.values()]


def all_commits() -> list[str]:
    """Experiments by name, then the commits of HEAD, branches and tags that changed dvc.lock, the newest first."""
    places = ("HEAD", "--branches", "--tags", "--remotes")  # a stash is in none, nor is what DVC stashes
    return [*experiments(), *git("rev-list", *places, "--full-history", "--abbrev-commit", "--", LOCK).split()]


def _stages(text: str, name: str) -> dict[str, Any]:
    try:
        lock = yaml.load(text, yaml.CSafeLoader)  # safe_load takes six times as long
    except yaml.YAMLError as error:
        print(f"{name}: {LOCK} is left out, it is not YAML: {' '.join(str(error).split())}", file=sys.stderr)
        lock = None
    return (lock.get("stages") or {}) if isinstance(lock, dict) else {}
