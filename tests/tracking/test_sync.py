"""Every way to obtain a checkpoint leaves one finished run for it; what the store lacks, `sync` writes from DVC.

What any store must do is asked of both, sqlite and a server.
"""

import hashlib
import shutil
from pathlib import Path

import mlflow
import pytest
import yaml

from pipeline.errors import InputError
from pipeline.revisions import all_commits, git
from pipeline.tasks import TASKS
from pipeline.tracking.store import search
from pipeline.tracking.sync import sync
from tests.helpers.project import finished_runs, run_in
from tests.helpers.training import deleted_runs, runs

FORCED = ("dvc", "repro", "--force", "--single-item", "train_classifier")


@pytest.fixture(params=["sqlite", pytest.param("server", marks=pytest.mark.slow)])
def clone_and_store(request: pytest.FixtureRequest, clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`clone`, once with its own store and once with an empty `mlflow server` on PostgreSQL."""
    if request.param == "server":
        server = request.getfixturevalue("mlflow_server")
        server.empty()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return clone


def stored() -> list[mlflow.entities.Run]:
    """The finished runs in the store of the working directory, the segmenter's first."""
    return [run for task in TASKS for run in search(task, "attributes.status = 'FINISHED'")]


def models() -> list[str]:
    """The checkpoints of the finished runs, by md5."""
    return [run.data.tags["model_md5"] for run in stored()]


def everything() -> str:
    """All that the store says of runs, experiments and versions."""
    found = [run.to_dictionary() for task in TASKS for run in runs(task) + deleted_runs(task)]
    return str(found + [dict(found) for found in (*mlflow.search_experiments(), *mlflow.search_model_versions())])


def locked_models(lock: str = "") -> list[str]:
    """The checkpoints that a dvc.lock names, by md5; that of the working directory if none is given."""
    stages = yaml.safe_load(lock or Path("dvc.lock").read_text())["stages"]
    outs = [out for task in TASKS for out in stages[f"train_{task}"]["outs"]]
    return [out["md5"] for out in outs if out["path"].endswith(".keras")]


def digest() -> str:
    """Of the whole database."""
    return hashlib.sha256(Path("mlflow.db").read_bytes()).hexdigest()


def test_sync_writes_what_the_store_lacks_and_then_nothing(
    clone_and_store: Path, repository: Path, capsys: pytest.CaptureFixture
) -> None:
    sync([])
    assert capsys.readouterr().out.splitlines()[-1] == "2 trainings in dvc.lock, 2 of them in the store"
    restored, original = stored(), finished_runs(repository)
    assert models() == locked_models()
    for run in restored:
        (model,) = [one for one in original if one.data.tags["model_md5"] == run.data.tags["model_md5"]]
        assert run.data.params == model.data.params
        assert run.data.metrics == model.data.metrics
        kept = ("data_md5", "history_md5", "metrics_md5", "plots_md5", "champion")
        assert {name: run.data.tags[name] for name in kept} == {name: model.data.tags[name] for name in kept}
        assert (run.data.tags["origin"], run.data.tags["restored_from"]) == ("restored from DVC", "work tree")
        grid = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="evaluation/samples.png")
        assert Path(grid).read_bytes().startswith(b"\x89PNG")

    before, files = everything(), digest()
    sync([])
    assert (everything(), digest()) == (before, files)


def test_sync_writes_a_deleted_run_anew_and_its_checkpoint_stays_one_version(clone_and_store: Path) -> None:
    sync([])
    client = mlflow.MlflowClient()
    champion = client.get_model_version_by_alias("pets-classifier", "champion")
    client.delete_run(champion.run_id)
    sync([])
    (run,) = search("classifier")
    assert client.get_model_version_by_alias("pets-classifier", "champion").run_id == run.info.run_id
    assert len(client.search_model_versions("name = 'pets-classifier'")) == 1
    assert models() == locked_models()


@pytest.mark.slow
def test_a_forced_repro_leaves_the_one_run(clone: Path) -> None:
    sync([])
    before = models()
    run_in(clone, *FORCED)
    assert models() == before
    assert [len(search(task)) for task in TASKS] == [1, 1], "no live run is left"


@pytest.mark.slow
def test_an_experiment_in_the_work_tree_of_a_branch_leaves_its_run_and_a_lost_store_gets_it_back(
    clone: Path, empty_store: Path
) -> None:
    run_in(clone, "git", "switch", "--quiet", "--create", "idea")
    run_in(clone, "dvc", "exp", "run", "--name", "bold", "-S", "train_classifier.seed=5")
    (run,) = stored()
    assert run.data.tags["model_md5"] in locked_models()
    assert (run.data.tags["origin"], run.data.tags["dvc_experiment"]) == ("dvc exp run", "bold")
    assert run.data.tags["uncommitted"] == "params.yaml"
    assert run.info.run_name == "residual bold"

    run_in(clone, "git", "checkout", "--quiet", ".")  # not yet `dvc checkout`: the commit has what the files are not
    shutil.rmtree("mlartifacts")
    shutil.copy(empty_store, "mlflow.db")
    sync(all_commits())
    (bold,) = [run for run in stored() if run.data.tags.get("dvc_experiment") == "bold"]
    assert bold.data.metrics == run.data.metrics
    assert (
        bold.data.tags["mlflow.source.git.commit"]
        == run_in(clone, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/bold").stdout.strip()
    )
    before = digest()
    sync(all_commits())
    assert digest() == before


def test_outputs_that_are_nowhere_are_named_and_the_others_written(clone: Path, capsys: pytest.CaptureFixture) -> None:
    md5 = locked_models()[1]
    (clone / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    Path("data/models/classifier.keras").unlink()
    with pytest.raises(InputError, match="1 of 2 trainings could not be written, see above"):
        sync([])
    line = "work tree: classifier: data/models/classifier.keras is neither in DVC's cache nor in a remote: "
    assert line in capsys.readouterr().err
    assert models() == [locked_models()[0]]


@pytest.mark.slow
def test_a_run_whose_model_a_person_deleted_keeps_no_other_from_its_evaluation(
    clone: Path, capsys: pytest.CaptureFixture
) -> None:
    sync([])
    for run in stored():
        mlflow.MlflowClient().delete_tag(run.info.run_id, "metrics_md5")  # as if evaluated anew
    segmenter, classifier = stored()
    (model,) = segmenter.outputs.model_outputs
    mlflow.MlflowClient().delete_logged_model(model.model_id)
    with pytest.raises(InputError, match="1 of 2 trainings could not be written, see above"):
        sync([])
    assert f"work tree: segmenter: the MLflow run {segmenter.info.run_id} has 0 models" in capsys.readouterr().err
    assert "metrics_md5" in mlflow.get_run(classifier.info.run_id).data.tags


def test_files_that_are_not_those_of_dvc_lock_are_not_logged_as_if_they_were(
    clone: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("data/history/classifier.csv").write_text("epoch,loss,accuracy,val_loss,val_accuracy\n1,0,1,0,1\n")
    with pytest.raises(InputError):
        sync([])
    assert "work tree: classifier: data/history/classifier.csv is not what dvc.lock names" in capsys.readouterr().err
    assert models() == [locked_models()[0]]


def test_a_checkpoint_of_earlier_data_waits_for_its_training(clone: Path) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    for task in TASKS:
        for out in lock["stages"][f"preprocess_{task}"]["outs"]:
            out["md5"] = "of other data"
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    sync([])
    assert models() == []


def test_a_restored_run_names_a_commit_only_if_that_has_the_code_which_trained(clone: Path) -> None:
    path = Path("pipeline/train.py")
    path.write_text(path.read_text() + "# edited\n")
    sync([])
    tags = [run.data.tags for run in stored()]
    names = {tag["mlflow.source.git.commit"] for tag in tags}
    assert names == {"unknown, code, packages or parameters in work tree are not those dvc.lock names"}
    assert not any("uncommitted" in tag for tag in tags)


def test_a_training_whose_metrics_are_nowhere_is_written_without_them(
    clone: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("data/metrics/classifier.json").unlink()
    for written in (["work tree: segmenter: written", "work tree: classifier: written"], []):
        sync([])
        said = capsys.readouterr()
        assert "work tree: classifier, its evaluation: data/metrics/classifier.json is neither in" in said.err
        assert [line for line in said.out.splitlines() if line.endswith("written")] == written
        assert said.out.splitlines()[-1] == "2 trainings in dvc.lock, 2 of them in the store"
    assert models() == locked_models()


@pytest.mark.slow
def test_a_dvc_lock_that_is_broken_keeps_no_other_revision_from_being_written(clone: Path) -> None:
    Path("dvc.lock").write_text("{")
    sync(["HEAD"])
    assert models() == locked_models(git("show", "HEAD:dvc.lock"))


@pytest.mark.slow
def test_what_is_no_revision_is_one_line_before_any_work(clone: Path) -> None:
    done = run_in(clone, "python", "-m", "pipeline.tracking", "sync", "nowhere", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sync: nowhere: no commit, branch, tag or experiment of this repository"
    assert models() == []
