"""Every way to obtain a checkpoint leaves one finished run for it; what the store lacks, `sync` writes from DVC."""

import hashlib
import shutil
from pathlib import Path

import mlflow
import pytest
import yaml

from pipeline.stage import TASKS, InputError
from pipeline.tracking.revisions import all_commits
from pipeline.tracking.sync import sync
from tests.project import clone_of, commit_all, finished_runs, run_in


@pytest.fixture
def project(repository: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of the repository after its `dvc repro`, with an empty store."""
    monkeypatch.chdir(clone_of(repository, tmp_path / "project"))
    shutil.copy(empty_store, "mlflow.db")
    return Path.cwd()


def models() -> list[str]:
    """The checkpoints of the finished runs, by md5."""
    return [run.data.tags["model_md5"] for run in finished_runs(Path.cwd())]


def locked_models() -> list[str]:
    """The checkpoints that dvc.lock names, by md5."""
    stages = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    outs = [out for task in TASKS for out in stages[f"train_{task}"]["outs"]]
    return [out["md5"] for out in outs if out["path"].endswith(".keras")]


def digest() -> str:
    """Of the whole database."""
    return hashlib.sha256(Path("mlflow.db").read_bytes()).hexdigest()


def files_of(runs: list[mlflow.entities.Run]) -> list[Path]:
    return [path for run in runs for path in Path("mlartifacts").rglob(f"{run.info.run_id}/**/*.png")]


def test_sync_writes_what_the_store_lacks_and_then_nothing(
    project: Path, repository: Path, capsys: pytest.CaptureFixture
) -> None:
    sync([])
    assert capsys.readouterr().out.splitlines()[-1] == "2 trainings in dvc.lock, 2 of them in the store"
    restored, original = finished_runs(project), finished_runs(repository)
    assert models() == locked_models()
    for run in restored:
        (model,) = [one for one in original if one.data.tags["model_md5"] == run.data.tags["model_md5"]]
        assert run.data.params == model.data.params
        assert run.data.metrics == model.data.metrics
        kept = ("data_md5", "history_md5", "metrics_md5", "plots_md5", "champion")
        assert {name: run.data.tags[name] for name in kept} == {name: model.data.tags[name] for name in kept}
        assert (run.data.tags["origin"], run.data.tags["restored_from"]) == ("restored from DVC", "work tree")
        assert mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db").list_artifacts(run.info.run_id, "evaluation")

    before = digest()
    sync([])
    assert digest() == before


def test_sync_brings_back_a_deleted_run_and_what_was_a_version_stays_one(project: Path) -> None:
    sync([])
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    champion = client.get_model_version_by_alias("pets-classifier", "champion")
    client.delete_run(champion.run_id)
    sync([])
    assert client.get_run(champion.run_id).info.lifecycle_stage == "active"
    assert client.get_model_version_by_alias("pets-classifier", "champion").run_id == champion.run_id
    assert sorted(models()) == sorted(locked_models())


def test_a_forced_repro_leaves_the_one_run(project: Path) -> None:
    sync([])
    before = models()
    done = run_in(project, "dvc", "repro", "--force", "--single-item", "train_classifier")
    assert "stays the only run of it" in done.stdout
    assert models() == before


def test_an_experiment_in_the_work_tree_of_a_branch_leaves_its_run_and_a_lost_store_gets_it_back(
    project: Path, empty_store: Path
) -> None:
    run_in(project, "git", "switch", "--quiet", "--create", "idea")
    run_in(project, "dvc", "exp", "run", "--name", "bold", "-S", "train_classifier.seed=5")
    (run,) = finished_runs(project)
    assert run.data.tags["model_md5"] in locked_models()
    assert (run.data.tags["origin"], run.data.tags["dvc_experiment"]) == ("dvc exp run", "bold")
    assert run.data.tags["uncommitted"] == "params.yaml"
    assert run.info.run_name == "residual bold"

    run_in(project, "git", "checkout", "--quiet", ".")  # not yet `dvc checkout`: the commit has what the files are not
    shutil.rmtree("mlartifacts")
    shutil.copy(empty_store, "mlflow.db")
    sync(all_commits())
    (bold,) = [run for run in finished_runs(project) if run.data.tags.get("dvc_experiment") == "bold"]
    assert bold.data.metrics == run.data.metrics
    assert (
        bold.data.tags["mlflow.source.git.commit"]
        == run_in(project, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/bold").stdout.strip()
    )
    before = digest()
    sync(all_commits())
    assert digest() == before


def test_outputs_that_are_nowhere_are_named_and_the_others_written(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    md5 = locked_models()[1]
    (project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    Path("data/models/classifier.keras").unlink()
    with pytest.raises(InputError, match="1 of 2 trainings could not be written, see above"):
        sync([])
    line = "work tree: classifier: data/models/classifier.keras is neither in DVC's cache nor in a remote: "
    assert line in capsys.readouterr().err
    assert models() == [locked_models()[0]]


def test_files_that_are_not_those_of_dvc_lock_are_not_logged_as_if_they_were(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("data/history/classifier.csv").write_text("epoch,loss,accuracy,val_loss,val_accuracy\n1,0,1,0,1\n")
    with pytest.raises(InputError):
        sync([])
    assert "work tree: classifier: the files are not those that dvc.lock names" in capsys.readouterr().err
    assert models() == [locked_models()[0]]


def test_a_checkpoint_of_earlier_data_waits_for_its_training(project: Path) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    for out in lock["stages"]["preprocess"]["outs"]:
        out["md5"] = "of other data"
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    sync([])
    assert models() == []


def test_a_restored_run_names_its_commit_only_if_that_has_the_code_which_trained(project: Path) -> None:
    Path("pipeline/train.py").write_text("# not what trained\n")
    commit_all(project, "other code, not yet run")
    sync([])
    names = {run.data.tags["mlflow.source.git.commit"] for run in finished_runs(project)}
    assert names == {"unknown, the code in work tree is not what dvc.lock names"}


def test_what_is_no_revision_is_one_line_before_any_work(project: Path) -> None:
    done = run_in(project, "python", "-m", "pipeline.tracking", "sync", "nowhere", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sync: nowhere: no commit, branch, tag or experiment of this repository"
    assert models() == []
