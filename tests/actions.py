"""The steps of a workflow of GitHub Actions, run here: their commands as the YAML has them, in order.

What GitHub computes, the `${{ }}`, is given by each test; `uses:` steps are left out.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.project import REPOSITORY, environment

SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # as GitHub starts `shell: bash`
STATUS = {"": lambda failed: not failed, "${{ always() }}": lambda failed: True}  # of `if:`, else KeyError


class Job:
    """One run of a job in a folder: what each step said, which failed, the files it wrote for GitHub."""

    def __init__(self, workflow: str, name: str, folder: Path, computed: dict[str, str], **variables: str):
        workflow = yaml.safe_load((REPOSITORY / ".github/workflows" / workflow).read_text())
        self.steps = [step for step in workflow["jobs"][name]["steps"] if "run" in step]
        self.folder, self.computed, self.temporary = folder, computed, folder.with_name(f"{folder.name}-{name}")
        self.failed: list[str] = []
        self.computed |= {f"steps.{step['id']}.outcome": "skipped" for step in self.steps if "id" in step}
        self.said: dict[str, str] = {}
        self.temporary.mkdir()
        self.files = {key: self.temporary / key for key in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for path in self.files.values():
            path.touch()
        given = workflow.get("env", {}) | workflow["jobs"][name].get("env", {})
        self.environment = environment() | {"RUNNER_TEMP": str(self.temporary), "CI": "true"} | variables
        self.environment |= {key: str(path) for key, path in self.files.items()} | self.values(given)
        for step in self.steps:
            if STATUS[step.get("if", "")](bool(self.failed)):
                self.run(step)

    def values(self, given: dict[str, object]) -> dict[str, str]:
        """Variables with each `${{ }}` replaced. Raises KeyError for one that the test does not know."""
        return {
            name: re.sub(r"\$\{\{ (.*?) \}\}", lambda match: self.computed[match[1]], str(value))
            for name, value in given.items()
        }

    def run(self, step: dict) -> None:
        assert "${{" not in step["run"], "what comes from outside is no part of a shell line"
        paths = self.files["GITHUB_PATH"].read_text().splitlines()
        set_before = dict(line.split("=", 1) for line in self.files["GITHUB_ENV"].read_text().splitlines())
        around = self.environment | set_before | self.values(step.get("env", {}))
        around["PATH"] = os.pathsep.join([*reversed(paths), around["PATH"]])
        script = self.temporary / "script.sh"
        script.write_text(step["run"])
        place = self.folder / step.get("working-directory", "")
        done = subprocess.run(
            [*SHELL, script], cwd=place, env=around, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        self.said[step["name"]] = done.stdout + done.stderr
        if done.returncode:
            self.failed.append(step["name"])
        if "id" in step:
            self.computed[f"steps.{step['id']}.outcome"] = "failure" if done.returncode else "success"


def pretend_installed(folder: Path) -> None:
    """A .venv that is this Python's own, so that `make .venv/installed` has nothing to do."""
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "installed":
            (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv/installed").touch()
    os.utime(folder / ".venv/installed", (2**32, 2**32))
