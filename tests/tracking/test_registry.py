"""Each evaluated checkpoint is a version, once; `champion` is the best on validation; the runs say why."""

import json
import shutil
from itertools import product
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import LoggedModelOutput, Metric, Param, Run

from pipeline.tasks import TASKS
from pipeline.tracking import registry
from pipeline.tracking.registry import WAITS, champion_of, promote, register, standing, versions_of
from pipeline.tracking.store import StoreError, connect, search
from tests.helpers.training import interrupt

FIRST = "yes: best_val_loss 0.5 is the lowest on its data"


def record_one(task: str, val_loss: float, data_md5: str = "data", seed: int = 0, **tags: str) -> Run:
    """Leave what the registry looks at of an evaluated training, a run with a model, and have it registered.

    A seed has a checkpoint of its own. tags: of the run, if there is none of this training. The worse the validation
    loss, the better the test metric: that has no say.
    """
    headline = TASKS[task].metrics[0].name
    scores = {f"test_{headline}": val_loss, f"test_{headline}_low": 0.25, f"test_{headline}_high": 0.75}
    md5s = {"model_md5": f"{seed:032}", "history_md5": repr(val_loss), "data_md5": data_md5, "plots_md5": "plots"}
    found = search(task, " and ".join(f"tags.{name} = '{md5}'" for name, md5 in md5s.items()))
    run_id = found[0].info.run_id if found else write_run(task, md5s | tags, scores | {"best_val_loss": val_loss})
    register(task)
    return mlflow.get_run(run_id)


def write_run(task: str, tags: dict[str, str], values: dict[str, float]) -> str:
    client, experiment = mlflow.MlflowClient(), connect(task)
    run_id = client.create_run(experiment, tags=tags, run_name="tiny").info.run_id
    params = {"architecture": "tiny", "epochs": "1", "image_size": "16", "dataset": "embedded"}
    metrics = [Metric(name, value, 0, 0) for name, value in (values | {"best_epoch": 1}).items()]
    client.log_batch(run_id, metrics, [Param(*param) for param in params.items()])
    model = client.create_logged_model(experiment, "model", source_run_id=run_id)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    client.finalize_logged_model(model.model_id, "READY")
    client.set_terminated(run_id)
    return run_id


def champion(task: str = "classifier") -> str:
    """The run of the version that has the alias."""
    return champion_of(task).run_id


def verdicts() -> list[str]:
    """What the runs of the versions say, the first version first."""
    return [mlflow.get_run(version.run_id).data.tags["champion"] for version in versions_of("classifier")]


def delete_version(number: str) -> None:
    mlflow.MlflowClient().delete_model_version("pets-classifier", number)


def test_a_checkpoint_that_is_evaluated_twice_is_one_version_with_a_card_unless_a_person_wrote_it(store: Path) -> None:
    run, client = record_one("segmenter", 0.25), mlflow.MlflowClient()
    record_one("segmenter", 0.25)
    (version,) = versions_of("segmenter")
    assert (version.name, version.run_id) == ("pets-segmenter", run.info.run_id)
    assert version.tags["model_md5"] == run.data.tags["model_md5"]
    verdict = "yes: best_val_loss 0.25 is the lowest on its data"
    assert (champion("segmenter"), run.data.tags["champion"]) == (run.info.run_id, verdict)
    assert client.get_registered_model("pets-segmenter").description == TASKS["segmenter"].description
    for words in (
        "# pets-segmenter: tiny, 16 x 16",
        TASKS["segmenter"].description,
        run.data.tags["data_md5"],
        run.info.run_id,
        "epoch 1 of 1, the best by validation loss (0.2500)",
        "| mean_iou | 0.2500 | 0.2500 to 0.7500 |",
    ):
        assert words in version.description

    client.log_metric(run.info.run_id, "test_mean_iou", 0.125)  # of a changed evaluation
    register("segmenter")
    assert "| mean_iou | 0.1250 | 0.2500 to 0.7500 |" in versions_of("segmenter")[0].description
    client.update_model_version("pets-segmenter", version.version, "mine")
    client.update_registered_model("pets-segmenter", "mine, too")
    record_one("segmenter", 0.5, seed=1)
    assert client.get_registered_model("pets-segmenter").description == "mine, too"
    assert versions_of("segmenter")[0].description == "mine"


def test_the_same_bytes_of_two_trainings_are_one_version_and_stay_one_when_the_first_run_is_removed(
    prepared: Path,
) -> None:
    first, longer = record_one("classifier", 0.5), record_one("classifier", 0.6)  # another history
    assert len(versions_of("classifier")) == 1
    assert longer.data.tags["champion"] == first.data.tags["champion"]
    mlflow.delete_run(first.info.run_id)
    register("classifier")
    (version,) = versions_of("classifier")
    assert version.run_id == longer.info.run_id == champion()


@pytest.mark.parametrize("step", ["model_card", "choose_champion"])
@pytest.mark.parametrize("by", ["evaluate", "sync"])
def test_a_registration_that_was_cut_off_is_completed_by_the_next(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, step: str, by: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(registry, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            record_one("classifier", 0.5)
    record_one("classifier", 0.5) if by == "evaluate" else register("classifier")
    (version,) = versions_of("classifier")
    assert version.description.startswith("# pets-classifier")
    assert champion() == version.run_id


def test_the_first_of_two_equal_versions_that_a_kill_or_another_machine_left_stays_and_those_made_by_hand(
    prepared: Path,
) -> None:
    run, client = record_one("classifier", 0.5), mlflow.MlflowClient()
    (first,) = versions_of("classifier")
    client.create_model_version(first.name, first.source, run.info.run_id, first.tags, model_id=first.model_id)
    by_hand = client.create_model_version(first.name, first.source, model_id=first.model_id)
    register("classifier")
    assert [int(version.version) for version in versions_of("classifier")] == [1]
    assert client.get_model_version(first.name, by_hand.version).version == by_hand.version


@pytest.mark.parametrize("lost", ["version", "data_md5", "best_val_loss"])
def test_a_removed_version_or_tag_comes_back_with_its_model_which_names_it_alone(store: Path, lost: str) -> None:
    def named() -> list[dict]:
        return json.loads(mlflow.get_logged_model(model.model_id).tags["mlflow.modelVersions"])

    run, client = record_one("classifier", 0.5), mlflow.MlflowClient()
    (model,) = run.outputs.model_outputs
    assert named() == [{"name": "pets-classifier", "version": "1"}]
    client.create_logged_model(run.info.experiment_id, "quantized", source_run_id=run.info.run_id)  # by a person
    remove_tag = mlflow.MlflowClient().delete_model_version_tag
    delete_version("1") if lost == "version" else remove_tag("pets-classifier", "1", lost)
    register("classifier")
    (version,) = versions_of("classifier")
    assert named() == [{"name": "pets-classifier", "version": str(version.version)}]
    assert (version.source, champion()) == (f"models:/{model.model_id}", run.info.run_id)


@pytest.mark.parametrize(
    ("val_loss", "data_md5", "is_champion", "verdict"),
    [
        (0.25, "data", True, "yes: best_val_loss 0.25 is the lowest on its data"),
        (0.5, "data", False, "no: a tie, best_val_loss 0.5 against 0.5 of version 1, the champion"),
        (0.75, "data", False, "no: best_val_loss 0.75 against 0.5 of version 1, the champion"),
        (0.25, "other", False, "no: other prepared data than version 1, the champion"),
    ],
    ids=["better", "tie", "worse", "other data"],
)
def test_champion_moves_only_to_a_better_validation_loss_on_the_same_data_and_the_run_says_why(
    prepared: Path, val_loss: float, data_md5: str, is_champion: bool, verdict: str
) -> None:
    record_one("classifier", 0.5)
    second = record_one("classifier", val_loss, data_md5, seed=1)
    assert second.data.tags["champion"] == verdict
    assert (champion() == second.info.run_id) == is_champion


def test_an_alias_that_was_removed_or_set_by_hand_goes_to_the_best_version_or_stays_on_other_data(
    prepared: Path,
) -> None:
    best = [record_one("classifier", loss, seed=seed) for seed, loss in enumerate((0.5, 0.25))][1].info.run_id
    client, name = mlflow.MlflowClient(), "pets-classifier"
    client.delete_registered_model_alias(name, "champion")
    record_one("classifier", 0.75, seed=2)
    assert champion() == best
    assert verdicts() == [
        "no: best_val_loss 0.5 against 0.25 of version 2, the champion",
        "yes: best_val_loss 0.25 is the lowest on its data",
        "no: best_val_loss 0.75 against 0.25 of version 2, the champion",
    ]
    client.set_registered_model_alias(name, "champion", "1")  # as a kill leaves it
    register("classifier")
    assert champion() == best
    other = record_one("classifier", 0.75, "other", seed=3).info.run_id
    client.set_registered_model_alias(name, "champion", "4")
    register("classifier")
    assert (champion(), verdicts()[3]) == (other, "yes: best_val_loss 0.75 is the lowest on its data")
    assert verdicts()[1] == "no: other prepared data than version 4, the champion"


def test_a_version_goes_by_sync_with_its_deleted_run_unless_a_person_marked_it_and_the_best_left_is_champion(
    store: Path,
) -> None:
    runs = [record_one("classifier", 0.1 * seed, seed=seed) for seed in range(1, 6)]
    client, numbers = mlflow.MlflowClient(), lambda: [int(version.version) for version in versions_of("classifier")]
    client.set_registered_model_alias("pets-classifier", "production", "2")
    client.update_model_version("pets-classifier", "3", "mine")
    for run in runs[:3]:
        mlflow.delete_run(run.info.run_id)
    client.update_run(runs[3].info.run_id, "RUNNING")  # a person goes on with it
    for only, left in ((runs[4].data.tags["model_md5"], [1, 2, 3, 4, 5]), ("", [2, 3, 4, 5])):
        register("classifier", only)
        assert (numbers(), champion()) == (left, runs[3].info.run_id)


def test_stores_that_share_a_registry_leave_each_other_s_versions_and_champion_alone(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy("mlflow.db", "other.db")
    shutil.copy("mlflow.db", "registry.db")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///registry.db")
    first = record_one("classifier", 0.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    second = record_one("classifier", 0.25)
    assert [version.run_id for version in versions_of("classifier")] == [first.info.run_id, second.info.run_id]
    assert champion() == first.info.run_id
    assert (
        second.data.tags["champion"]
        == "no: version 1, the champion, is not this store's; only a person moves its alias"
    )
    mlflow.MlflowClient().set_registered_model_alias("pets-classifier", "champion", "2")
    assert record_one("classifier", 0.125, seed=1).info.run_id == champion()


def test_a_model_that_a_person_deleted_is_one_line_until_the_run_is_deleted_too(
    store: Path, capsys: pytest.CaptureFixture
) -> None:
    run, other = (record_one("classifier", 0.5, seed=seed) for seed in range(2))
    (model,) = run.outputs.model_outputs
    mlflow.MlflowClient().delete_logged_model(model.model_id)
    delete_version("1")
    delete_version("2")
    remedy = "delete the run, and `python -m pipeline.tracking sync --all-commits` writes it anew"
    register("classifier")
    assert capsys.readouterr().err == f"the MLflow run {run.info.run_id} has 0 models named model, not 1; {remedy}\n"
    assert champion() == other.info.run_id

    longer = record_one("classifier", 0.6)
    assert longer.info.run_id in [version.run_id for version in versions_of("classifier")], "of the same checkpoint"


def test_what_ci_trained_takes_part_once_it_is_promoted_and_of_other_data_it_is_chosen_by_that(store: Path) -> None:
    def from_ci(loss: float, data_md5: str, seed: int) -> str:
        link = "https://github.com/me/pets/actions/runs/7"
        return record_one("classifier", loss, data_md5, seed, ci_run=link).data.tags["model_md5"]

    def outlooks() -> list[str]:
        """What a report says will become of each version."""
        return [standing("classifier", version.tags["model_md5"])[2] for version in versions_of("classifier")]

    first = from_ci(0.5, "data", 0)
    register("classifier")
    assert (champion_of("classifier"), verdicts(), outlooks()) == (None, [WAITS], [f"if promoted: {FIRST}"])
    assert (promote("classifier", first), outlooks()) == (FIRST, [FIRST])

    waiting = [from_ci(0.25, "data", 1), from_ci(0.75, "data", 2), from_ci(0.75, "other", 3)]
    register("classifier")
    assert (champion_of("classifier").tags["model_md5"], verdicts()[1:]) == (first, [WAITS] * 3)
    better, worse, other = (
        "yes: best_val_loss 0.25 is the lowest on its data",
        "no: best_val_loss 0.75 against 0.5 of version 1, the champion",
        "yes: best_val_loss 0.75 is the lowest on its data",
    )
    assert outlooks()[1:] == [f"if promoted: {verdict}" for verdict in (better, worse, other)]
    for number, verdict, best in ((1, worse, first), (0, better, waiting[0]), (2, other, waiting[2])):
        assert promote("classifier", waiting[number]) == verdict
        assert champion_of("classifier").tags["model_md5"] == best


def test_a_checkpoint_without_a_version_or_of_a_deleted_run_is_one_line_for_who_promotes_it_or_asks_for_it(
    prepared: Path,
) -> None:
    md5s = [record_one("classifier", 0.5, seed=seed, ci_run="7").data.tags["model_md5"] for seed in range(2)]
    assert standing("classifier", md5s[0])[0] == "1"
    mlflow.delete_run(versions_of("classifier")[1].run_id)
    delete_version("1")
    for ask, md5 in product((promote, standing), md5s):
        with pytest.raises(StoreError, match=f"no version has the checkpoint {md5}, or its run is deleted; `python -m"):
            ask("classifier", md5)
