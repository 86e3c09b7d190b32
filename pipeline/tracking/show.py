"""Lineage: from a checkpoint or a run to all that it was made of, and to the commits that hold it."""

from mlflow.entities import Run

from pipeline.revisions import all_commits, revisions
from pipeline.tasks import TASKS
from pipeline.tracking.lineage import GIT_COMMIT, files, training_in_lock
from pipeline.tracking.registry import CHAMPION, champion_of, versions_of
from pipeline.tracking.search import named_runs

ORIGIN = ("origin", "restored_from", "dvc_experiment", "ci_commit", "ci_pull_request", "ci_run", "device", "repeats")


def show(name: str) -> None:
    """Print the lineage of each run that a name means, see `named_runs`. Raises InputError if there is none."""
    holders = _holders()
    for task, runs in named_runs(name).items():
        for run in runs:
            lines = _lineage(task, run, holders).items()
            print("\n".join(f"{key:<12}{value}" for key, value in lines if value), end="\n\n")


def _holders() -> dict[str, list[str]]:
    """The revisions whose dvc.lock holds a checkpoint, by its md5."""
    found: dict[str, list[str]] = {}
    for revision in revisions(all_commits()):
        for task in TASKS:
            if training := training_in_lock(task, revision.stages):
                found.setdefault(training.outputs["model_md5"], []).append(revision.name)
    return found


def _lineage(task: str, run: Run, holders: dict[str, list[str]]) -> dict[str, str]:
    tags = run.data.tags
    revisions_with_it = holders.get(tags.get("model_md5", ""), [])
    return {
        "run": f"{run.info.run_id} {run.info.run_name!r} in pets-{task}, {run.info.status}",
        "origin": ", ".join(tags[key] if key == "origin" else f"{key} {tags[key]}" for key in ORIGIN if key in tags),
        "checkpoint": _file(task, "model_md5", tags),
        "history": _file(task, "history_md5", tags),
        "data": _file(task, "data_md5", tags),
        "evaluation": _file(task, "metrics_md5", tags),
        "code": _code(tags),
        "params": ", ".join(f"{key} {value}" for key, value in sorted(run.data.params.items())),
        "metrics": ", ".join(f"{key} {value:.6g}" for key, value in sorted(run.data.metrics.items())),
        "registry": _version(task, tags),
        "held by": _shortened(revisions_with_it) or "no dvc.lock of this repository",
        "fetch": "".join(
            f"dvc get . {files(task)['model_md5']} --rev {name}"
            for name in revisions_with_it[-1:]
            if name != "work tree"
        ),
    }


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - 8} more, back to {names[-1]}" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _file(task: str, name: str, tags: dict[str, str]) -> str:
    return f"{files(task)[name]} md5 {tags[name]}" if name in tags else ""


def _code(tags: dict[str, str]) -> str:
    commit, changed = tags.get(GIT_COMMIT, "unknown"), tags.get("uncommitted")
    return f"commit {commit}" + (f" with the run's artifact uncommitted.patch on it: {changed}" if changed else "")


def _version(task: str, tags: dict[str, str]) -> str:
    champion = champion_of(task)
    for version in versions_of(task):
        if version.tags["model_md5"] == tags.get("model_md5"):
            mark = f" ({CHAMPION})" if champion and champion.version == version.version else ""
            return f"{version.name} version {version.version}{mark}; {CHAMPION}: {tags.get(CHAMPION)}"
    return ""
