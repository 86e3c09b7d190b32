"""How a training came about: the command, the code's commit and how it differs, the pull request."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.revisions import GitError, Revision, git, is_unedited, uncommitted

COMMIT = "mlflow.source.git.commit"
ACTIONS = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_SHA", "GITHUB_EVENT_PATH")


@dataclass(frozen=True)
class Origin:
    """Tags of a run, and the difference of the code that trained to its commit, for `git apply`; "" for none."""

    tags: dict[str, str]
    patch: str = ""

    @classmethod
    def here(cls, device: str) -> "Origin":
        """Return how a training that starts now comes about. device: what it computes on, for people."""
        experiment, in_dvc = os.environ.get("DVC_EXP_NAME", ""), "DVC_STAGE" in os.environ
        command = "dvc exp run" if experiment else "dvc repro" if in_dvc else "python -m pipeline.train"
        place = "" if os.environ.get("CI", "") in ("", "false") else " in CI"
        tags = {"origin": command + place, "dvc_experiment": experiment, "device": device}
        code, patch = _code()
        return cls(_set(tags | code | _ci()), patch)

    @classmethod
    def restored(cls, revision: Revision, task: str) -> "Origin":
        """Return how a run comes about that is written from a revision's outputs. Its code may have been edited."""
        tags = {"origin": "restored from DVC", "restored_from": revision.name}
        if not is_unedited(revision, f"preprocess_{task}", f"train_{task}"):
            tags[COMMIT] = f"unknown: {revision.name} has other code, packages or parameters than its dvc.lock names"
        else:
            tags[COMMIT] = revision.commit
        tags["dvc_experiment"] = revision.name if revision.is_experiment else ""
        return cls(_set(tags | _ci()))


def _set(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if value}


def _code() -> tuple[dict[str, str], str]:
    commit = ""
    try:
        commit = git("rev-parse", "HEAD").strip()
        files, patch = uncommitted()
    except GitError as error:
        print(f"warning: MLflow does not show what code this is: {error}", file=sys.stderr)
        unknown = f"unknown: {error}"
        return {COMMIT: commit or unknown, "uncommitted": unknown if commit else ""}, ""
    return {COMMIT: commit, "uncommitted": ", ".join(files)}, patch


def _ci() -> dict[str, str]:
    """Return the commit and the pull request that GitHub Actions works on: it checks out a merge of two branches."""
    if not all(name in os.environ for name in ("GITHUB_ACTIONS", *ACTIONS)):
        return {}
    server, repository, run_id, commit, event = (os.environ[name] for name in ACTIONS)
    pull_request, page = json.loads(Path(event).read_text()).get("pull_request"), f"{server}/{repository}"
    return {
        "ci_commit": pull_request["head"]["sha"] if pull_request else commit,
        "ci_pull_request": f"{page}/pull/{pull_request['number']}" if pull_request else "",
        "ci_run": f"{page}/actions/runs/{run_id}",
    }
