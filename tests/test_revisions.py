"""Revisions of a real repository; Git's failures are errors that say why."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.revisions import (
    GitError,
    all_commits,
    experiments,
    file_at,
    git,
    is_unedited,
    revisions,
    uncommitted,
    work_tree,
)
from tests.helpers.project import init_git

pytestmark = pytest.mark.usefixtures("small_clone")


def test_a_revision_is_a_commit_a_branch_or_an_experiment_with_what_its_dvc_lock_holds() -> None:
    commit = git("rev-parse", "HEAD").strip()
    here, head, branch, before, bold = revisions(["HEAD", "main", "HEAD~1", "bold"])
    assert (here.commit, head.commit, branch.commit) == ("", commit, commit)
    rates = [
        one.stages["train"]["params"]["params.yaml"]["train_classifier.learning_rate"]
        for one in (here, head, branch, bold)
    ]
    assert rates == [1e-5, 1e-5, 1e-5, 0.5]
    assert before.stages == {}
    assert (head.is_experiment, bold.is_experiment) == (False, True)
    assert head.outputs == {"data/out": head.stages["train"]["outs"][0]["md5"]}


def test_all_commits_are_experiments_and_those_that_changed_dvc_lock_but_no_stash() -> None:
    Path("dvc.lock").write_text("schema: '2.0'\n")
    git("stash")
    assert all_commits() == ["bold", git("rev-parse", "--short", "HEAD").strip()]
    assert experiments() == {"bold": git("for-each-ref", "--format=%(objectname)", "refs/exps/*/*/bold").strip()}


def test_a_file_of_a_revision_is_as_it_was_and_empty_where_there_is_none() -> None:
    Path("pipeline/code.py").write_text("a = 2\n")
    now, head = revisions(["HEAD"])
    assert [file_at(side, "pipeline/code.py") for side in (now, head)] == ["a = 2\n", "a = 1\n"]
    assert [file_at(side, "no such file") for side in (now, head)] == ["", ""]


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("params.yaml", "1.0e-05", "1e-5", True),  # another spelling of the same number
        ("params.yaml", "1.0e-05", "0.1", False),
        ("params.yaml", "train_classifier", "other", False),
        ("params.yaml", "train_classifier:", "{", False),
        ("pipeline/code.py", "1", "1 # a comment", False),
    ],
)
def test_results_of_other_code_or_parameters_than_are_there_are_edited(path, old, new, expected) -> None:
    Path(path).write_text(Path(path).read_text().replace(old, new))
    now, head = revisions(["HEAD"])
    assert (is_unedited(now, "train"), is_unedited(head, "train")) == (expected, True)
    assert not is_unedited(head, "train", "no such stage")


def test_uncommitted_files_are_named_with_a_patch_that_git_applies() -> None:
    Path("pipeline/code.py").unlink()
    Path("pipeline/new é.py").write_text("b = 1\n")
    Path("data/README.md").write_text("decides nothing\n")
    git("add", "data/README.md")
    names, patch = uncommitted()
    assert names == ["pipeline/code.py", "pipeline/new é.py"]
    assert git("diff", "--cached", "--name-only").split() == ["data/README.md"], "the user's index stays"
    Path("changes.patch").write_text(patch)
    git("clean", "--quiet", "--force", "pipeline")
    git("checkout", "--quiet", ".")
    git("apply", "changes.patch")
    assert [path.name for path in Path("pipeline").iterdir()] == ["new é.py"]


def test_a_git_add_that_fails_is_no_lack_of_changes() -> None:
    Path("pipeline/code.py").write_text("a = 2\n")
    Path(".git/info/attributes").write_text("*.py filter=broken\n")
    git("config", "filter.broken.clean", "false")
    git("config", "filter.broken.required", "true")
    with pytest.raises(GitError, match=r"^git add: pipeline/code.py: clean filter 'broken' failed$"):
        uncommitted()


def test_what_git_does_not_know_or_refuses_is_one_line(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"^v7: no commit, branch, tag or experiment of this repository$"):
        revisions(["HEAD", "v7"])
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")
    with pytest.raises(GitError, match=r"^git for-each-ref: detected dubious ownership .* --add safe.directory "):
        revisions(["HEAD"])
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    monkeypatch.chdir(tmp_path)
    assert work_tree().stages == {}
    with pytest.raises(GitError, match=r"^git for-each-ref: not a git repository \(or any of the parent directories\)"):
        revisions(["HEAD"])
    init_git(tmp_path)
    assert all_commits() == [], "there is no commit yet"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"^git: no such program; install Git$"):
        revisions(["HEAD"])


def test_the_repository_of_this_folder_is_asked_as_dvc_does_whatever_variables_of_git_say(monkeypatch) -> None:
    expected = all_commits()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    assert (all_commits(), uncommitted()) == (expected, ([], ""))


def test_a_shallow_clone_says_what_it_lacks(tmp_path: Path, monkeypatch, capsys) -> None:
    git("clone", "--quiet", "--depth", "1", Path.cwd().as_uri(), str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    remedy = "this clone is shallow, `git fetch --unshallow` brings older ones"
    with pytest.raises(InputError, match=rf"^HEAD~1: no commit, .*; {remedy}$"):
        revisions(["HEAD~1"])
    all_commits()
    assert capsys.readouterr().err == f"warning: not all commits; {remedy}\n"


def test_a_dvc_lock_that_is_broken_holds_nothing_and_is_named(capsys) -> None:
    Path("dvc.lock").write_text("{")
    assert work_tree().stages == {}
    assert capsys.readouterr().err.startswith("work tree is left out: dvc.lock: not YAML: ")
