"""DVC remotes: what one machine has pushed, a clone that has nothing else gets, and no stage runs again."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.inputs import content_md5
from pipeline.tasks import TASKS
from pipeline.tracking.sync import sync
from tests.helpers.project import commit_all, finished_runs, run_in

pytestmark = pytest.mark.slow

Clone = Callable[[Path], Path]


@pytest.fixture(scope="module", params=["folder", "ssh"])
def clone(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A function that makes a folder the clone of a repository whose outputs are in a remote, and nowhere else."""
    folder = tmp_path_factory.mktemp("remote")
    url, key = str(folder / "storage"), None
    if request.param == "ssh":
        server = request.getfixturevalue("sshd")
        url, key = server.url(folder / "storage"), str(server.key)

    author = folder / "author"
    run_in(folder, "git", "clone", "--quiet", str(repository), "author")
    run_in(author, "git", "config", "user.name", "test")
    run_in(author, "git", "config", "user.email", "test@example.org")
    run_in(author, "dvc", "cache", "dir", "--local", str(repository / ".dvc/cache"))
    run_in(author, "dvc", "remote", "add", "--default", "storage", url)
    commit_all(author, "a remote")

    def let_in(machine: Path) -> Path:
        if key:  # it is in no commit
            run_in(machine, "dvc", "remote", "modify", "--local", "storage", "keyfile", key)
        return machine

    run_in(let_in(author), "dvc", "push")

    def clone_to(target: Path) -> Path:
        run_in(folder, "git", "clone", "--quiet", "author", str(target))
        return let_in(target)

    return clone_to


def locked(folder: Path) -> dict[str, str]:
    """The md5 of every output, by its path, as dvc.lock has it."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def on_disk(folder: Path) -> dict[str, str]:
    """The md5 of every output, by its path, as it lies there."""
    return {path: content_md5(folder / path) for path in locked(folder)}


def test_repro_pulls_in_a_clone_and_sync_gives_each_checkpoint_its_run(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(tmp_path / "clone")
    done = run_in(folder, "dvc", "repro", "--pull")
    assert "Running stage" not in done.stdout
    assert on_disk(folder) == locked(folder)
    assert run_in(folder, "git", "status", "--porcelain").stdout == "", "dvc.lock is the one that was cloned"

    monkeypatch.chdir(folder)
    sync([])
    models = [run.data.tags["model_md5"] for run in finished_runs(folder)]
    assert models == [locked(folder)[f"data/models/{task}.keras"] for task in TASKS]
