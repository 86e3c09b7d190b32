"""The registry: each evaluated checkpoint is a version of its task's model, once; `champion` is the best of them."""

import json
import sys
from contextlib import redirect_stderr
from io import StringIO

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from pipeline.tasks import TASKS
from pipeline.tracking.card import CARD, model_card
from pipeline.tracking.store import StoreError, connect, model_of, search, store_faults

CHAMPION = "champion"
PROMOTED = "promoted"  # the tag of a run from CI that may become champion
WAITS = "no: trained in CI, not eligible until `python -m pipeline.tracking promote`"
EVALUATED = "attributes.status = 'FINISHED' and tags.plots_md5 != ''"


def register(task: str, run: Run, scores: dict[str, float]) -> None:
    """Make an evaluated run's checkpoint a version, the same bytes once, and champion where it is better. Idempotent.

    scores: the test metrics for the model card. The run's tag `champion` says what was decided, and why.
    """
    version = _version_with(task, run.data.tags["model_md5"]) or _make_version(task, run)
    if version.run_id != run.info.run_id:
        verdict = f"no: the checkpoint is version {version.version} already"
        mlflow.MlflowClient().set_tag(run.info.run_id, CHAMPION, verdict)
        return
    client, name = mlflow.MlflowClient(), version.name
    # By this tag the model's page names its version. A server and its client each add one, and both keep deleted ones.
    named = [{"name": name, "version": str(version.version)}]
    client.set_logged_model_tags(model_of(run.info.run_id, task), {"mlflow.modelVersions": json.dumps(named)})
    if (version.description or CARD).startswith(CARD):  # else a person has written another
        client.update_model_version(name, version.version, model_card(task, run, scores))
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, TASKS[task].description)
    choose_champion(task)


def _make_version(task: str, run: Run) -> ModelVersion:
    """Return the version of a checkpoint that had none; another machine's, if that registered it in this moment."""
    tags = {name: run.data.tags[name] for name in ("model_md5", "data_md5")}
    tags["best_val_loss"] = repr(run.data.metrics["best_val_loss"])
    with redirect_stderr(StringIO()):  # it prints two lines
        made = mlflow.register_model(f"models:/{model_of(run.info.run_id, task)}", f"pets-{task}", tags=tags)
    first = _version_with(task, tags["model_md5"])
    if first.version != made.version:
        mlflow.MlflowClient().delete_model_version(made.name, made.version)
    return first


def versions_of(task: str) -> list[ModelVersion]:
    """Return the versions that were made here, the oldest first."""
    found = mlflow.MlflowClient().search_model_versions(f"name = 'pets-{task}'")
    return sorted((version for version in found if "model_md5" in version.tags), key=lambda one: int(one.version))


def champion_of(task: str) -> ModelVersion | None:
    """Return the version that has the alias, None where none has it."""
    client, name = mlflow.MlflowClient(), f"pets-{task}"
    for model in client.search_registered_models(f"name = '{name}'"):
        if CHAMPION in model.aliases:
            return client.get_model_version(name, model.aliases[CHAMPION])
    return None


def judge(version: ModelVersion, champion: ModelVersion | None) -> str:
    """Say whether a version beats the champion on the same prepared data: "yes: ..." or "no: ...", with the reason.

    The validation loss decides, by which its checkpoint was chosen, too. Test metrics never influence it.
    """
    if champion is None:
        return "yes: the first"
    if _is_of_other_data(version, champion):
        return f"no: other prepared data than version {champion.version}, the champion"
    found, best = (float(one.tags["best_val_loss"]) for one in (version, champion))
    compared = f"best_val_loss {found:.6g} against {best:.6g} of version {champion.version}"
    return f"yes: {compared}" if found < best else f"no: {'a tie, ' if found == best else ''}{compared}, the champion"


def _is_of_other_data(version: ModelVersion, champion: ModelVersion | None) -> bool:
    return champion is not None and champion.tags.get("data_md5") != version.tags["data_md5"]


def standing(task: str, model_md5: str) -> tuple[str, str, str]:
    """Return version and run of a checkpoint, and whether it is, or if promoted would become, champion, and why.

    Raises StoreError if the store cannot be used, or lacks the checkpoint.
    """
    with store_faults():
        connect(task)
        version = _known_version(task, model_md5)
        run = mlflow.get_run(version.run_id)
        waits = _waits(run)
        verdict = f"if promoted: {judge(version, champion_of(task))}" if waits else run.data.tags.get(CHAMPION, "")
    return str(version.version), version.run_id, verdict  # version: a number in a store without a server


def _known_version(task: str, model_md5: str) -> ModelVersion:
    if version := _version_with(task, model_md5):
        return version
    remedy = "`python -m pipeline.tracking sync` makes one of an evaluated checkpoint"
    raise StoreError(f"pets-{task}: no version has the checkpoint {model_md5}; {remedy}")


def _version_with(task: str, model_md5: str) -> ModelVersion | None:
    return next((one for one in versions_of(task) if one.tags["model_md5"] == model_md5), None)


def choose_champion(task: str) -> None:
    """Give the alias to the version that beats the others, and the reason to each version's run. Idempotent.

    What CI has trained of a change that nobody has accepted yet is not eligible.
    """
    client, champion = mlflow.MlflowClient(), champion_of(task)
    runs = {run.info.run_id: run for run in search(task)}
    versions = [version for version in versions_of(task) if version.run_id in runs]  # of no deleted run
    best, reason = champion, "yes: chosen by hand"
    for version in versions:
        if not _waits(runs[version.run_id]) and (verdict := judge(version, best)).startswith("yes"):
            best, reason = version, verdict
    for version in versions:
        run = runs[version.run_id]
        said = run.data.tags.get(CHAMPION, "")
        if best and version.version == best.version:
            verdict = said if best is champion and said.startswith("yes") else reason
        else:
            verdict = WAITS if _waits(run) else judge(version, best)
        if verdict != said:
            client.set_tag(version.run_id, CHAMPION, verdict)
    if best is not champion:
        client.set_registered_model_alias(best.name, CHAMPION, best.version)
        choose_champion(task)  # another machine may have set it in this moment


def _waits(run: Run) -> bool:
    return "ci_run" in run.data.tags and PROMOTED not in run.data.tags


def promote(task: str, model_md5: str) -> str:
    """Make a checkpoint from CI a candidate for champion. Returns the verdict on it.

    Validation losses on other data do not compare: there the one who promotes has chosen. Raises StoreError for a
    checkpoint without a version.
    """
    client, version = mlflow.MlflowClient(), _known_version(task, model_md5)
    client.set_tag(version.run_id, PROMOTED, "yes")
    if _is_of_other_data(version, champion_of(task)):
        client.set_registered_model_alias(version.name, CHAMPION, version.version)
    choose_champion(task)
    return client.get_run(version.run_id).data.tags[CHAMPION]


def mend(task: str) -> None:
    """Delete versions whose run is gone and repeated ones, make those that are missing, see to a champion."""
    evaluated = {run.info.run_id: run for run in search(task, EVALUATED)}
    known: set[str] = set()
    for version in versions_of(task):
        if version.run_id not in evaluated or version.tags["model_md5"] in known:
            mlflow.MlflowClient().delete_model_version(version.name, version.version)
        elif version.description:  # else a kill cut its registration off
            known.add(version.tags["model_md5"])
    for run in evaluated.values():
        if run.data.tags["model_md5"] not in known:
            try:
                measured = {name: value for name, value in run.data.metrics.items() if name.startswith("test_")}
                register(task, run, {name.removeprefix("test_"): value for name, value in measured.items()})
                known.add(run.data.tags["model_md5"])
            except StoreError as error:  # a person deleted the model
                print(error, file=sys.stderr)
    choose_champion(task)
