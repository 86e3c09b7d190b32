"""GitHub Actions in folders: runs the workflows as the YAML has them, each job on a machine of its own.

Commands, shells, conditions, variables and expressions are the workflow's. Of the actions that it uses, what they do to
files is done here: checkout, Python, cache, artifacts, the comment.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.expressions import fill_in, holds, statuses
from tests.helpers.project import REPOSITORY, environment, run_in

SHELLS = {None: ("bash", "-e"), "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail")}  # as GitHub starts them


@dataclass
class GitHub:
    """A repository at GitHub: a bare remote, what it was told, and what its jobs have left."""

    origin: Path
    vars: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    caches: list[tuple[str, str, str, Path]] = field(default_factory=list)  # ref, key, paths, where; the oldest first
    comments: dict[str, str] = field(default_factory=dict)  # by header
    runs: int = 0

    def pull_request(self, number: int, head: str, base: str = "main", of: str = "") -> tuple[str, dict]:
        """A pull request's ref, a merge that GitHub makes of a commit and a branch, and its event. of: whose fork."""
        tree = run_in(self.origin, "git", "merge-tree", "--write-tree", base, head).stdout.split()[0]
        author = ("-c", "user.name=GitHub", "-c", "user.email=github@example.org")
        parents = ("-p", base, "-p", head, "-m", f"Merge {head} into {base}")
        merge = run_in(self.origin, "git", *author, "commit-tree", tree, *parents).stdout.strip()
        run_in(self.origin, "git", "update-ref", f"refs/pull/{number}/merge", merge)
        commit = run_in(self.origin, "git", "rev-parse", head).stdout.strip()
        repository = {"full_name": f"{of}/pets" if of else self.origin.name}
        opened = {"number": number, "head": {"sha": commit, "repo": repository}, "user": {"login": of or "me"}}
        return f"refs/pull/{number}/merge", {"pull_request": opened}

    def contexts(self, ref: str, event: dict, inputs: dict[str, object]) -> dict[str, Any]:
        """What the expressions of a workflow have."""
        github = {"event": event, "ref": ref, "run_id": self.runs, "run_attempt": 1, "token": "secret"}
        github["sha"] = run_in(self.origin, "git", "rev-parse", ref).stdout.strip()
        github |= {"server_url": self.origin.parent.as_uri(), "repository": self.origin.name}
        head = event["pull_request"]["head"]["repo"]["full_name"] if "pull_request" in event else self.origin.name
        secrets = self.secrets if head == self.origin.name else {}
        return {"github": github, "vars": self.vars, "secrets": secrets, "inputs": inputs}

    def run(self, workflow: str, ref: str, event: dict, stop_at: str = "", **inputs: object) -> dict[str, "Job"]:
        """Run a workflow on a ref of the remote; the jobs that ran. stop_at: cancel it when a step says this."""
        self.runs += 1
        text, contexts, jobs = workflow_text(workflow), self.contexts(ref, event, inputs), {}
        for name, definition in text["jobs"].items():
            needed = jobs.get(definition.get("needs"))
            status = statuses(bool(needed and needed.failed), bool(needed and needed.cancelled))
            if holds(definition.get("if", "success()"), contexts | status):
                jobs[name] = Job(self, text, name, contexts)
                jobs[name].run(stop_at)
        return jobs


def workflow_text(name: str) -> dict:
    text = yaml.safe_load((REPOSITORY / ".github/workflows" / name).read_text())
    return {"on" if key is True else key: value for key, value in text.items()}  # YAML 1.1 has `on` for true


class Job:
    """One run of a job on a machine: what each step said, which failed, the files it wrote for GitHub."""

    def __init__(self, github: GitHub, workflow: dict, name: str, contexts: dict[str, Any]):
        self.github, self.definition, self.ref = github, workflow["jobs"][name], contexts["github"]["ref"]
        self.machine = github.origin.with_name(f"{name}-{github.runs}")
        self.temporary = github.origin.with_name(f"{name}-{github.runs}-temp")
        self.artifacts = github.origin.with_name(f"artifacts-{github.runs}")
        self.shell = workflow.get("defaults", {}).get("run", {}).get("shell")
        self.contexts = contexts | {"runner": {"temp": str(self.temporary)}, "steps": {}}
        self.runs_on = fill_in(self.definition["runs-on"], contexts)
        self.failed: list[str] = []
        self.cancelled = False
        self.said: dict[str, str] = {}
        self.files = {key: self.temporary / key for key in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        self.variables = self.filled(workflow.get("env", {}) | self.definition.get("env", {}))
        self.contexts["env"] = self.variables

    def filled(self, given: dict[str, object]) -> dict[str, str]:
        return {name: fill_in(value, self.contexts) for name, value in given.items()}

    def run(self, stop_at: str) -> None:
        """Run the steps whose conditions hold."""
        self.stop_at = stop_at
        self.machine.mkdir()
        self.temporary.mkdir()
        (self.temporary / "event.json").write_text(json.dumps(self.contexts["github"]["event"]))
        for path in self.files.values():
            path.touch()
        names = ("sha", "repository", "run_id", "server_url")
        self.variables |= {f"GITHUB_{name.upper()}": str(self.contexts["github"][name]) for name in names}
        self.variables |= {"GITHUB_EVENT_PATH": f"{self.temporary}/event.json", "RUNNER_TEMP": str(self.temporary)}
        self.variables |= {"CI": "true", "GITHUB_ACTIONS": "true"} | {
            key: str(path) for key, path in self.files.items()
        }
        for step in self.definition["steps"]:
            if holds(step.get("if", "success()"), self.contexts | statuses(bool(self.failed), self.cancelled)):
                self.run_step(step)

    def run_step(self, step: dict) -> None:
        name, failed = step.get("name", step.get("uses")), True
        if "run" in step:
            failed = self.run_commands(step, name) != 0
        else:
            with suppress(OSError, subprocess.CalledProcessError):
                ACTIONS[step["uses"].partition("@")[0]](self, self.filled(step.get("with", {})))
                failed = False
        if failed and not step.get("continue-on-error"):
            self.failed.append(name)
        if "id" in step:
            self.contexts["steps"][step["id"]] = {"outcome": "failure" if failed else "success"}

    def run_commands(self, step: dict, name: str) -> int:
        assert "${{" not in step["run"], "what comes from outside is no part of a shell line"
        set_before = dict(line.split("=", 1) for line in self.files["GITHUB_ENV"].read_text().splitlines())
        around = environment() | self.variables | set_before | self.filled(step.get("env", {}))
        around["PATH"] = os.pathsep.join([*reversed(self.files["GITHUB_PATH"].read_text().split()), around["PATH"]])
        script, output = self.temporary / "script.sh", self.temporary / "output"
        script.write_text(step["run"])
        with output.open("w") as written:
            process = subprocess.Popen(
                [*SHELLS[step.get("shell", self.shell)], script],
                cwd=self.machine / step.get("working-directory", ""),
                env=around,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            while process.poll() is None:
                time.sleep(0.05)
                if self.stop_at and self.stop_at in output.read_text():
                    os.killpg(process.pid, signal.SIGKILL)
                    self.cancelled = True
        self.said[name] = output.read_text()
        return process.returncode


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def checkout(job: Job, given: dict[str, str]) -> None:
    target = job.machine / given.get("path", "")
    target.mkdir(exist_ok=True)
    git(target, "init", "--quiet")
    git(target, "remote", "add", "origin", job.github.origin.as_uri())
    depth = given.get("fetch-depth", "1")
    everything = ["+refs/heads/*:refs/remotes/origin/*"] if depth == "0" else [f"--depth={depth}"]
    git(target, "fetch", "origin", given.get("ref", job.ref), *everything)
    git(target, "checkout", "--detach", "FETCH_HEAD")


def setup_python(job: Job, given: dict[str, str]) -> None:
    """A .venv that is this Python's own, so that `make .venv/installed` does nothing: packages stay as they are."""
    (job.machine / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "installed":
            (job.machine / ".venv" / entry.name).symlink_to(entry)
    (job.machine / ".venv/installed").touch()
    os.utime(job.machine / ".venv/installed", (2**32, 2**32))


def restore_cache(job: Job, given: dict[str, str]) -> None:
    """The newest of this ref's, or of main's, by the first key that one begins with."""
    for wanted in [given["key"], *given["restore-keys"].split()]:
        for ref, key, paths, place in reversed(job.github.caches):
            if paths == given["path"] and key.startswith(wanted) and ref in (job.ref, "refs/heads/main"):
                shutil.copytree(place, job.machine, dirs_exist_ok=True, symlinks=True)
                return


def save_cache(job: Job, given: dict[str, str]) -> None:
    place = job.github.origin.with_name(f"cache-{len(job.github.caches)}")
    for path in given["path"].split():
        if (job.machine / path).exists():
            shutil.copytree(job.machine / path, place / path, symlinks=True)
    job.github.caches.append((job.ref, given["key"], given["path"], place))


def upload(job: Job, given: dict[str, str]) -> None:
    if (job.machine / given["path"]).exists() or given.get("if-no-files-found") != "ignore":
        shutil.copytree(job.machine / given["path"], job.artifacts / given["name"])


def download(job: Job, given: dict[str, str]) -> None:
    shutil.copytree(job.artifacts / given["name"], job.machine / given["path"])


def comment(job: Job, given: dict[str, str]) -> None:
    job.github.comments[given["header"]] = (job.machine / given["path"]).read_text()


ACTIONS: dict[str, Callable[[Job, dict[str, str]], None]] = {
    "actions/checkout": checkout,
    "actions/setup-python": setup_python,
    "actions/cache/restore": restore_cache,
    "actions/cache/save": save_cache,
    "actions/upload-artifact": upload,
    "actions/download-artifact": download,
    "marocchino/sticky-pull-request-comment": comment,
}
