"""Every way to obtain a checkpoint leaves one finished run for it; what the store lacks, `sync` writes from DVC."""

import shutil
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from pipeline.errors import InputError
from pipeline.revisions import all_commits
from pipeline.tasks import TASKS
from pipeline.tracking.registry import champion_of, versions_of
from pipeline.tracking.store import search
from pipeline.tracking.sync import sync
from tests.helpers.project import finished_runs, run_in
from tests.helpers.training import lock_outputs, runs, write_outputs

COMMIT = "mlflow.source.git.commit"
MISSING = "1 of 2 trainings could not be written, see above"


@pytest.fixture
def project(store: Path) -> Path:
    """`store`, and in DVC the results of both tasks, whose checkpoints are no models."""
    for task in TASKS:
        write_outputs(task, checkpoint=task)
    lock_outputs(*TASKS)
    return store


def stored() -> list[Run]:
    """The finished runs in the store of the working directory, the segmenter's first."""
    return [run for task in TASKS for run in search(task, "attributes.status = 'FINISHED'")]


def models() -> list[str]:
    """The checkpoints of the finished runs, by md5."""
    return [run.data.tags["model_md5"] for run in stored()]


def locked_models() -> list[str]:
    """The checkpoints that dvc.lock names, by md5."""
    stages = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    outs = [out for task in TASKS for out in stages[f"train_{task}"]["outs"]]
    return [out["md5"] for out in outs if out["path"].endswith(".keras")]


def everything() -> str:
    """All that the store says of runs, experiments and versions."""
    found = [run.to_dictionary() for task in TASKS for run in runs(task)]
    return str(found + [dict(found) for found in (*mlflow.search_experiments(), *mlflow.search_model_versions())])


def test_sync_writes_what_the_store_lacks_a_deleted_run_too_and_then_nothing(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    sync([])
    written = [f"work tree: {task}: written" for task in TASKS]
    assert capsys.readouterr().out.splitlines() == [*written, "2 trainings in dvc.lock, 2 of them in the store"]
    assert models() == locked_models()
    for run in stored():
        assert (run.data.tags["origin"], run.data.tags["restored_from"]) == ("restored from DVC", "work tree")
        assert run.data.tags["champion"] == "yes: best_val_loss 0.5 is the lowest on its data"
        table = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/evaluation/table.csv")
        assert table == "a,b\n1,2\n"
    before = everything()
    sync([])
    assert everything() == before

    mlflow.delete_run(champion_of("classifier").run_id)
    sync([])
    (run,) = search("classifier")
    assert [version.run_id for version in versions_of("classifier")] == [champion_of("classifier").run_id]
    assert champion_of("classifier").run_id == run.info.run_id
    assert models() == locked_models()


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (Path.unlink, "data/models/classifier.keras is neither in DVC's cache nor in a remote: "),
        (lambda path: path.write_text("mine"), "data/models/classifier.keras is not what dvc.lock names; `dvc"),
    ],
    ids=["nowhere", "edited"],
)
def test_an_output_that_is_nowhere_or_was_edited_is_named_and_the_other_task_is_written(
    prepared: Path, project: Path, capsys: pytest.CaptureFixture, edit, line: str
) -> None:
    md5 = locked_models()[1]
    (project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    edit(Path("data/models/classifier.keras"))
    with pytest.raises(InputError, match=MISSING):
        sync([])
    assert f"work tree: classifier: {line}" in capsys.readouterr().err
    assert models() == locked_models()[:1]


def test_a_run_whose_model_a_person_deleted_keeps_no_other_from_its_evaluation(
    project: Path, capsys: pytest.CaptureFixture
) -> None:
    sync([])
    for run in stored():
        mlflow.MlflowClient().delete_tag(run.info.run_id, "metrics_md5")  # as if evaluated anew
    segmenter, classifier = stored()
    (model,) = segmenter.outputs.model_outputs
    mlflow.MlflowClient().delete_logged_model(model.model_id)
    with pytest.raises(InputError, match=MISSING):
        sync([])
    assert f"work tree: segmenter: the MLflow run {segmenter.info.run_id} has 0 models" in capsys.readouterr().err
    assert "metrics_md5" in mlflow.get_run(classifier.info.run_id).data.tags


@pytest.mark.slow
def test_a_restored_run_names_no_commit_if_the_code_was_edited_and_a_forced_repro_leaves_the_one_run(
    clone: Path,
) -> None:
    code = Path("pipeline/train.py")
    trained = code.read_text()
    code.write_text(f"{trained}# edited\n")
    sync([])
    unknown = "unknown: work tree has other code, packages or parameters than its dvc.lock names"
    assert {run.data.tags[COMMIT] for run in stored()} == {unknown}
    before = models()
    code.write_text(trained)
    run_in(clone, "dvc", "repro", "--force", "--single-item", "train_classifier")
    assert models() == before
    assert [len(search(task)) for task in TASKS] == [1, 1], "no live run is left"


@pytest.mark.slow
def test_an_experiment_in_the_work_tree_of_a_branch_leaves_its_run_and_a_lost_store_gets_it_back(
    clone: Path, repository: Path, empty_store: Path
) -> None:
    run_in(clone, "git", "switch", "--quiet", "--create", "idea")
    run_in(clone, "dvc", "exp", "run", "--name", "bold", "-S", "train_classifier.seed=5")
    (run,) = stored()
    assert run.data.tags["model_md5"] in locked_models()
    assert (run.data.tags["origin"], run.data.tags["dvc_experiment"]) == ("dvc exp run", "bold")
    assert (run.data.tags["uncommitted"], run.info.run_name) == ("params.yaml", "residual bold")

    run_in(clone, "git", "checkout", "--quiet", ".")  # not yet `dvc checkout`: the commit has what the files are not
    shutil.rmtree("mlartifacts")
    shutil.copy(empty_store, "mlflow.db")
    sync(all_commits())
    originals = {one.data.tags["model_md5"]: one for one in [run, *finished_runs(repository)]}
    assert sorted(models()) == sorted(originals)
    for one in stored():
        original = originals[one.data.tags["model_md5"]]
        assert (one.data.params, one.data.metrics) == (original.data.params, original.data.metrics)
    (bold,) = [run for run in stored() if run.data.tags.get("dvc_experiment") == "bold"]
    experiment = run_in(clone, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/bold").stdout.strip()
    assert bold.data.tags[COMMIT] == experiment
    before = everything()
    sync(all_commits())
    assert everything() == before
