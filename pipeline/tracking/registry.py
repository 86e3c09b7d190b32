"""The registry: each evaluated checkpoint is a version of its task's model, once; `champion` is the best of them."""

import json
import sys
from contextlib import redirect_stderr
from io import StringIO

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion

from pipeline.tasks import TASKS
from pipeline.tracking.card import CARD, model_card
from pipeline.tracking.store import StoreError, connect, idempotent, model_of, search, store_faults

CHAMPION = "champion"
PROMOTED = "promoted"  # the tag of a run from CI that may become champion
WAITS = "no: trained in CI, not eligible until `python -m pipeline.tracking promote`"
EVALUATED = {"model_md5", "data_md5", "plots_md5"}  # tags of a run
TAGS = {"model_md5", "data_md5", "best_val_loss"}  # of a version that was made here


def register(task: str, only: str = "") -> None:
    """Make each checkpoint of an evaluated run one version with a model card, then choose the champion. Idempotent.

    Versions of deleted runs go, and second ones of a checkpoint, unless a person gave them an alias or a description.
    A registry may serve several stores: a version whose run is not in this one, deleted or not, is left alone.
    A run whose model a person deleted is a line on standard error.
    only: the md5 of the checkpoint of which a version is made, or goes; "" for all.
    """
    known, runs = _versions_and_runs(task, only)
    for run in runs:
        try:
            if run.data.tags["model_md5"] not in known and run.data.tags["model_md5"].startswith(only):
                _make_version(task, run)
        except StoreError as error:
            print(error, file=sys.stderr)
    known, runs = _versions_and_runs(task, only)  # another machine may have made the same in this moment
    for run in runs:
        version = known.get(run.data.tags["model_md5"])
        if version and version.run_id == run.info.run_id:
            _describe(task, version, run)
    choose_champion(task)


def _versions_and_runs(task: str, only: str) -> tuple[dict[str, ModelVersion], list[Run]]:
    """Return the first version of each checkpoint, by md5, and the evaluated runs. Delete other versions of `only`."""
    (versions, active), known, client = _made_here(task), {}, mlflow.MlflowClient()
    for version in versions:
        md5 = version.tags["model_md5"]
        if version.run_id in active and known.setdefault(md5, version) is version:
            continue
        if md5.startswith(only):
            now = client.get_model_version(version.name, version.version)  # with its aliases, which a search leaves out
            if {CHAMPION}.issuperset(now.aliases) and (now.description or CARD).startswith(CARD):
                client.delete_model_version(version.name, version.version)
    finished = [run for run in active.values() if run.info.status == "FINISHED"]
    return known, [run for run in finished if run.data.tags.keys() >= EVALUATED]


def _made_here(task: str) -> tuple[list[ModelVersion], dict[str, Run]]:
    """Return the versions of this store's runs, the oldest first, and by id those runs that are not deleted."""
    versions = versions_of(task)  # asked for before the runs: a version is younger than its run
    runs = {run.info.run_id: run for run in search(task, view=ViewType.ALL)}
    active = {name: run for name, run in runs.items() if run.info.lifecycle_stage == "active"}
    return [version for version in versions if version.run_id in runs], active


def _make_version(task: str, run: Run) -> None:
    tags = {name: run.data.tags[name] for name in ("model_md5", "data_md5")}
    tags["best_val_loss"] = repr(run.data.metrics["best_val_loss"])
    with redirect_stderr(StringIO()):  # it prints two lines
        mlflow.register_model(f"models:/{model_of(run.info.run_id, task)}", f"pets-{task}", tags=tags)
    client = mlflow.MlflowClient()
    if not client.get_registered_model(f"pets-{task}").description:
        client.update_registered_model(f"pets-{task}", TASKS[task].description)


def _describe(task: str, version: ModelVersion, run: Run) -> None:
    """Give a version its model card, unless a person has written another, and its model a link to it."""
    client, card, before = mlflow.MlflowClient(), model_card(task, run), version.description or CARD
    if before == CARD:
        # By this tag the model's page names its version. A server and its client each add one, and keep deleted ones.
        named = [{"name": version.name, "version": str(version.version)}]
        client.set_logged_model_tags(model_of(run.info.run_id, task), {"mlflow.modelVersions": json.dumps(named)})
    if before.startswith(CARD) and before != card:
        client.update_model_version(version.name, version.version, card)


def versions_of(task: str) -> list[ModelVersion]:
    """Return the versions that were made here, not by hand, the oldest first."""
    found = mlflow.MlflowClient().search_model_versions(f"name = 'pets-{task}'")
    return sorted((version for version in found if version.tags.keys() >= TAGS), key=lambda one: int(one.version))


def champion_of(task: str) -> ModelVersion | None:
    """Return the version that has the alias, None where none has it."""
    client, name = mlflow.MlflowClient(), f"pets-{task}"
    found = client.search_registered_models(f"name = '{name}'")
    return client.get_model_version_by_alias(name, CHAMPION) if found and CHAMPION in found[0].aliases else None


def decide(
    versions: list[ModelVersion], runs: dict[str, Run], champion: ModelVersion | None, promoted: ModelVersion | None
) -> tuple[ModelVersion | None, dict[str, str]]:
    """Return the version that should be champion, and "yes: ..." or "no: ..." with the reason for each checkpoint.

    The lowest validation loss decides, of a tie the older version. Test metrics never influence it. Losses compare on
    the same prepared data alone. What CI has trained of a change that nobody has accepted yet is not eligible.
    A champion that is none of the versions stays: it is another store's, or was made by hand.
    versions: of this store's runs, the oldest first. runs: those that are not deleted; other versions have no part.
    promoted: what a person makes a candidate. Its data counts, else the champion's, else the first eligible version's.
    """
    active, chosen = [version for version in versions if version.run_id in runs], promoted or champion
    waiting = {name for name, run in runs.items() if "ci_run" in run.data.tags and PROMOTED not in run.data.tags}
    eligible = [one for one in active if one.run_id not in waiting or (chosen and one.version == chosen.version)]
    verdicts = {version.tags["model_md5"]: WAITS for version in active}
    if champion and champion.version not in {version.version for version in versions}:
        theirs = f"no: version {champion.version}, the champion, is not this store's; only a person moves its alias"
        return champion, verdicts | {version.tags["model_md5"]: theirs for version in eligible}
    data = [one.tags["data_md5"] for one in (chosen, *eligible) if one]
    rivals = [one for one in eligible if one.tags["data_md5"] == data[0]]
    best = min(rivals, key=_loss, default=chosen)
    return best, verdicts | {version.tags["model_md5"]: _verdict(version, best) for version in reversed(eligible)}


def _loss(version: ModelVersion) -> float:
    return float(version.tags["best_val_loss"])


def _verdict(version: ModelVersion, best: ModelVersion) -> str:
    if version.tags["data_md5"] != best.tags["data_md5"]:
        return f"no: other prepared data than version {best.version}, the champion"
    if version is best:
        return f"yes: best_val_loss {_loss(best):.6g} is the lowest on its data"
    tie = "a tie, " if _loss(version) == _loss(best) else ""
    return (
        f"no: {tie}best_val_loss {_loss(version):.6g} against {_loss(best):.6g} of version {best.version}, the champion"
    )


def choose_champion(task: str, promoted: ModelVersion | None = None) -> None:
    """Give the alias to the version that `decide` names, and the reasons to the runs. Idempotent.

    promoted: what a person makes a candidate. On other data than the champion's that is a choice.
    """
    while True:  # another machine may set the alias in this moment
        champion, (versions, runs) = champion_of(task), _made_here(task)
        best, verdicts = decide(versions, runs, champion, promoted)
        if best is None or (champion and champion.version == best.version):
            break
        mlflow.MlflowClient().set_registered_model_alias(best.name, CHAMPION, best.version)
    for run in runs.values():
        verdict = verdicts.get(run.data.tags.get("model_md5"))
        if verdict and run.data.tags.get(CHAMPION) != verdict:
            mlflow.MlflowClient().set_tag(run.info.run_id, CHAMPION, verdict)


def standing(task: str, model_md5: str) -> tuple[str, str, str]:
    """Return version and run of a checkpoint, and whether it is, or if promoted would become, champion, and why.

    Raises StoreError if the store cannot be used, or lacks the checkpoint.
    """
    with store_faults():
        connect(task)
        version = _version_with(task, model_md5)
        verdict = mlflow.get_run(version.run_id).data.tags.get(CHAMPION, "")
        if verdict == WAITS:
            verdict = f"if promoted: {decide(*_made_here(task), champion_of(task), version)[1][model_md5]}"
    return str(version.version), version.run_id, verdict  # version: a number in a store without a server


@idempotent
def promote(task: str, model_md5: str) -> str:
    """Make a checkpoint from CI a candidate for champion. Returns the verdict on it.

    Raises StoreError for a checkpoint without a version.
    """
    client, version = mlflow.MlflowClient(), _version_with(task, model_md5)
    client.set_tag(version.run_id, PROMOTED, "yes")
    choose_champion(task, version)
    return client.get_run(version.run_id).data.tags[CHAMPION]


def _version_with(task: str, model_md5: str) -> ModelVersion:
    versions, runs = _made_here(task)
    for version in versions:
        if version.tags["model_md5"] == model_md5 and version.run_id in runs:
            return version
    remedy = "`python -m pipeline.tracking sync` makes one of an evaluated checkpoint"
    raise StoreError(f"pets-{task}: no version has the checkpoint {model_md5}, or its run is deleted; {remedy}")
