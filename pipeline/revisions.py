"""What Git and dvc.lock say of the work tree, of commits, branches and tags, and of DVC's experiments."""

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import InputError
from pipeline.params import read_yaml

LOCK = "dvc.lock"
ELSEWHERE = {f"GIT_{name}" for name in ("DIR", "WORK_TREE", "COMMON_DIR", "OBJECT_DIRECTORY", "INDEX_FILE")}
DECIDE = ("pipeline", "params.yaml", "dvc.yaml", "requirements.txt")  # with the data, what a stage makes


@dataclass(frozen=True)
class Revision:
    """A dvc.lock, under the name by which people ask for it.

    commit: the commit that holds it, "" for the work tree. stages: the entries of dvc.lock, by stage.
    """

    name: str
    commit: str
    stages: dict[str, Any]
    is_experiment: bool = False

    @property
    def outputs(self) -> dict[str, str]:
        """Return the md5 of each output, by path."""
        return {out["path"]: out["md5"] for stage in self.stages.values() for out in stage.get("outs", ())}


class GitError(InputError):
    """Git failed, or is not installed. status: the exit status of git, None where there is no git."""

    def __init__(self, line: str, status: int | None = None):
        super().__init__(line)
        self.status = status


def git(*arguments: str, **variables: str) -> str:
    """Run a git command in the repository of this folder, which is DVC's. variables: added to its environment.

    Returns what it prints, line ends as they are. Raises GitError with Git's own reason, in which Git names the way out
    where it knows one.
    """
    here = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    environment = here | {"LC_ALL": "C"} | variables  # reasons in English
    try:
        done = subprocess.run(["git", *arguments], env=environment, capture_output=True)
    except FileNotFoundError:
        raise GitError("git: no such program; install Git") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")
        reason = " ".join((said.partition("fatal: ")[2] or said).split())
        remedy = "; work in a clone of it" if "not a git repository" in reason else ""
        raise GitError(f"git {arguments[0]}: {reason}{remedy}", done.returncode)
    return done.stdout.decode(errors="replace")


def work_tree() -> Revision:
    """Return what lies here, whether committed or not. Needs no Git."""
    return _revision("work tree", "")


def revisions(names: list[str]) -> list[Revision]:
    """Return the work tree, then these commits, branches, tags or experiments.

    Raises InputError for a name that Git does not know, GitError if Git fails.
    """
    named, found = experiments() if names else {}, [work_tree()]
    for name in names:
        commit = named.get(name) or _object_id(f"{name}^{{commit}}")
        if not commit:
            raise InputError(f"{name}: no commit, branch, tag or experiment of this repository{_what_lacks()}")
        found.append(_revision(name, commit, name in named))
    return found


def experiments() -> dict[str, str]:
    """Return the commit of each DVC experiment, by name. Raises GitError outside a Git repository."""
    # Of DVC's API, exp_show would read all parameters and metrics of all of them.
    refs = [line.split() for line in git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()]
    return {ref.split("/")[-1]: commit for commit, ref in refs if ref.count("/") == 4}  # refs/exps/12/34.../NAME


def all_commits() -> list[str]:
    """Return all experiments, then the commits of HEAD, branches and tags that changed dvc.lock, the newest first."""
    if lacks := _what_lacks():
        print(f"warning: not all commits{lacks}", file=sys.stderr)
    named = experiments()
    head = ["HEAD"] if _object_id("HEAD") else []  # none before the first commit
    places = (*head, "--branches", "--tags", "--remotes")  # DVC's and Git's stashes are in none of them
    return [*named, *git("rev-list", *places, "--full-history", "--abbrev-commit", "--", LOCK).split()]


def file_at(revision: Revision, path: str) -> str:
    """Return the text of a file at a revision, "" where there is no such file."""
    if revision.commit:
        blob = _object_id(f"{revision.commit}:./{path}")
        return git("cat-file", "blob", blob) if blob else ""
    return Path(path).read_bytes().decode(errors="replace") if Path(path).is_file() else ""


def params_at(revision: Revision) -> dict[str, Any]:
    """Return params.yaml at a revision, {} where it is not a file that a stage could read."""
    with suppress(InputError):
        params = read_yaml("params.yaml", file_at(revision, "params.yaml").encode())
        return params if isinstance(params, dict) else {}
    return {}


def is_unedited(revision: Revision, *names: str) -> bool:
    """Return whether a revision has the code, packages and parameters that its dvc.lock names for these stages.

    They are files in Git, compared by md5. False where the revision lacks a stage or a parameter.
    """
    params = params_at(revision)
    with suppress(KeyError, TypeError):
        stages = [revision.stages[name] for name in names]
        locked = [item for stage in stages for item in stage.get("params", {}).get("params.yaml", {}).items()]
        code = {(dep["path"], dep["md5"]) for stage in stages for dep in stage.get("deps", ())}
        return all(reduce(getitem, key.split("."), params) == value for key, value in locked) and all(
            hashlib.md5(file_at(revision, path).encode()).hexdigest() == md5
            for path, md5 in code
            if not path.startswith("data/")
        )
    return False


def uncommitted() -> tuple[list[str], str]:
    """Return the files that decide what a stage makes and differ from HEAD, new ones included, and the patch.

    `git apply` takes the patch. Raises GitError where Git cannot tell.
    """
    with TemporaryDirectory() as folder:  # an index of its own: the user's stays as it is
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        git("read-tree", "HEAD", **index)
        git("add", "--all", "--", *filter(os.path.exists, DECIDE), **index)
        diff = ("diff", "--cached", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/", "HEAD")
        names = git(*diff, "--name-only", "-z", **index).split("\0")[:-1]
        return names, git(*diff, "--binary", **index)


def _revision(name: str, commit: str, is_experiment: bool = False) -> Revision:
    lock = None
    try:
        lock = read_yaml(LOCK, file_at(Revision(name, commit, {}), LOCK).encode())
    except InputError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
    return Revision(name, commit, (lock.get("stages") or {}) if isinstance(lock, dict) else {}, is_experiment)


def _what_lacks() -> str:
    """Return how to get the older commits of a shallow clone, "" for a clone that has them."""
    is_shallow = git("rev-parse", "--is-shallow-repository").strip() == "true"
    return "; this clone is shallow, `git fetch --unshallow` brings older ones" if is_shallow else ""


def _object_id(name: str) -> str:
    """Return the id of what Git knows by this name, "" if it knows nothing."""
    try:
        return git("rev-parse", "--verify", "--quiet", name).strip()
    except GitError as error:
        if error.status != 1:  # 1: no such name; 128: Git itself failed
            raise
        return ""
