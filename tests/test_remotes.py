"""DVC remotes: what one machine has pushed, a clone that has nothing else gets, and no stage runs again."""

from pathlib import Path

import pytest
import yaml

from pipeline.inputs import content_md5
from pipeline.tasks import TASKS
from pipeline.tracking.sync import sync
from tests.helpers.project import clone_of, commit_all, finished_runs, run_in


@pytest.mark.slow
def test_repro_pulls_in_a_clone_over_ssh_and_sync_gives_each_checkpoint_its_run(
    repository: Path, sshd: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (url, key), author, folder = sshd, clone_of(repository, tmp_path / "author"), tmp_path / "clone"
    let_in = ("dvc", "remote", "modify", "--local", "storage", "keyfile", str(key))  # it is in no commit
    run_in(author, "dvc", "remote", "add", "--default", "storage", f"{url}{tmp_path}/storage")
    commit_all(author, "a remote")
    run_in(author, *let_in)
    run_in(author, "dvc", "push")
    run_in(tmp_path, "git", "clone", "--quiet", "author", "clone")
    run_in(folder, *let_in)

    done = run_in(folder, "dvc", "repro", "--pull")
    assert "Running stage" not in done.stdout
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"].values()
    locked = {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}
    assert {path: content_md5(folder / path) for path in locked} == locked
    assert run_in(folder, "git", "status", "--porcelain").stdout == "", "dvc.lock is the one that was cloned"

    monkeypatch.chdir(folder)
    sync([])
    models = [run.data.tags["model_md5"] for run in finished_runs(folder)]
    assert models == [locked[f"data/models/{task}.keras"] for task in TASKS]


@pytest.mark.slow
def test_an_experiment_from_before_the_remote_reaches_an_empty_clone_with_its_address_in_the_local_config(
    small_clone: Path, tmp_path: Path
) -> None:
    storage, clone, push = tmp_path / "storage", tmp_path / "colleague", ("dvc", "exp", "push", "origin", "bold")
    add = ("dvc", "remote", "add", "--default", "storage", str(storage))
    run_in(tmp_path, "git", "init", "--quiet", "--bare", "--initial-branch=main", "origin")
    run_in(small_clone, "git", "remote", "add", "origin", str(tmp_path / "origin"))
    run_in(small_clone, *add)
    commit_all(small_clone, "a remote")
    run_in(small_clone, "git", "push", "--quiet", "origin", "main")
    run_in(small_clone, *push)
    assert not storage.exists(), "DVC asks the commit of the experiment for a remote"
    run_in(small_clone, *add, "--local")
    assert "1 file uploaded" in run_in(small_clone, *push).stdout

    run_in(tmp_path, "git", "clone", "--quiet", "origin", "colleague")
    run_in(clone, *add, "--local")
    run_in(clone, "dvc", "exp", "pull", "origin", "bold")
    run_in(clone, "dvc", "exp", "apply", "bold")
    assert (clone / "data/out").read_text() == "a = 1\n"
