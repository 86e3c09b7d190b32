"""The registry: each evaluated checkpoint is a version of its task's model, once; `champion` is the best of them."""

from contextlib import suppress

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.errors import InputError
from pipeline.tracking.search import NoModel, model_of, search

CHAMPION = "champion"
PROMOTED = "promoted"  # the tag of a run from CI that may become champion
WAITS = "no: trained in CI, takes no part before `python -m pipeline.tracking promote`"


def register(task: str, run: Run) -> str:
    """Make an evaluated run's checkpoint a version, the same bytes once, and champion where it is better.

    Returns the version's number. The run's tag `champion` says what was decided, and why.
    """
    client, name, md5 = mlflow.MlflowClient(), f"pets-{task}", run.data.tags["model_md5"]
    for version in versions_of(task):
        if version.tags["model_md5"] == md5:
            if version.run_id != run.info.run_id:
                client.set_tag(run.info.run_id, CHAMPION, f"no: the checkpoint is version {version.version} already")
            return version.version
    if not client.search_registered_models(f"name = '{name}'"):
        with suppress(MlflowException):  # another machine made it in this moment
            client.create_registered_model(name)
    model_id = model_of(run.info.run_id, task)
    tags = {"model_md5": md5, "data_md5": run.data.tags["data_md5"]}
    tags["best_val_loss"] = repr(run.data.metrics["best_val_loss"])
    version = client.create_model_version(name, f"models:/{model_id}", run.info.run_id, tags, model_id=model_id)
    choose_champion(task)
    return version.version


def versions_of(task: str) -> list[ModelVersion]:
    """The versions that were made here, the oldest first."""
    found = mlflow.MlflowClient().search_model_versions(f"name = 'pets-{task}'")
    return sorted((version for version in found if "model_md5" in version.tags), key=lambda one: int(one.version))


def champion_of(task: str) -> ModelVersion | None:
    """The version that has the alias, None where none has it."""
    client, name = mlflow.MlflowClient(), f"pets-{task}"
    for model in client.search_registered_models(f"name = '{name}'"):
        if CHAMPION in model.aliases:
            return client.get_model_version(name, model.aliases[CHAMPION])
    return None


def judge(version: ModelVersion, champion: ModelVersion | None) -> str:
    """Whether a version beats the champion on the same prepared data: "yes: ..." or "no: ...", with the reason.

    Beats: by validation loss, by which its checkpoint was chosen, too. The test split has no say.
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


def outlook(task: str, version: ModelVersion) -> str:
    """Whether a version is the champion, or would become it: at once, or if it is promoted; with the reason."""
    client, champion = mlflow.MlflowClient(), champion_of(task)
    if champion and champion.version == version.version:
        return f"is it; {client.get_run(champion.run_id).data.tags.get(CHAMPION, 'by hand')}"
    if not _waits(client.get_run(version.run_id)):
        return judge(version, champion)
    chosen = "yes: chosen by hand, on other prepared data"
    return f"if promoted: {chosen if _is_of_other_data(version, champion) else judge(version, champion)}"


def choose_champion(task: str) -> None:
    """Give the alias to the version that beats the others, and the reason to each version's run. Idempotent.

    What CI has trained of a change that nobody has accepted yet takes no part.
    """
    client, champion = mlflow.MlflowClient(), champion_of(task)
    runs = {run.info.run_id: run for run in search(task)}
    versions = [version for version in versions_of(task) if version.run_id in runs]  # of no deleted run
    waiting = {run_id for run_id, run in runs.items() if _waits(run)}
    best, reason = champion, "yes: chosen by hand"
    for version in versions:
        if version.run_id not in waiting and (verdict := judge(version, best)).startswith("yes"):
            best, reason = version, verdict
    for version in versions:
        said = runs[version.run_id].data.tags.get(CHAMPION, "")
        if best and version.version == best.version:
            verdict = said if best is champion and said.startswith("yes") else reason
        else:
            verdict = WAITS if version.run_id in waiting else judge(version, best)
        if verdict != said:
            client.set_tag(version.run_id, CHAMPION, verdict)
    if best is not champion:
        client.set_registered_model_alias(best.name, CHAMPION, best.version)
        choose_champion(task)  # another machine may have set it in this moment


def _waits(run: Run) -> bool:
    return "ci_run" in run.data.tags and PROMOTED not in run.data.tags


def promote(task: str, run: Run) -> str:
    """Let a run's checkpoint take part in the choice of the champion. Returns the verdict on it.

    Validation losses on other data do not compare: there the one who promotes has chosen. Raises InputError for a run
    without a version.
    """
    client, md5 = mlflow.MlflowClient(), run.data.tags.get("model_md5")
    version = next((one for one in versions_of(task) if one.tags["model_md5"] == md5), None)
    if version is None:
        remedy = "`python -m pipeline.tracking sync` makes one of an evaluated checkpoint"
        raise InputError(f"the MLflow run {run.info.run_id} has no version of pets-{task}; {remedy}")
    client.set_tag(version.run_id, PROMOTED, "yes")
    if _is_of_other_data(version, champion_of(task)):
        client.set_registered_model_alias(version.name, CHAMPION, version.version)
    choose_champion(task)
    return client.get_run(version.run_id).data.tags[CHAMPION]


def mend(task: str) -> list[str]:
    """Delete versions whose run is gone, make those that are missing, see to a champion.

    Returns a line for each thing done, or that could not be done.
    """
    evaluated = [run for run in search(task, "attributes.status = 'FINISHED'") if "plots_md5" in run.data.tags]
    client, lines, before = mlflow.MlflowClient(), [], champion_of(task)
    run_ids = {run.info.run_id for run in evaluated}
    for version in versions_of(task):
        if version.run_id not in run_ids:
            client.delete_model_version(version.name, version.version)
            lines.append(f"{version.name} version {version.version}: deleted, its run is gone")
    choose_champion(task)
    known = {version.tags["model_md5"] for version in versions_of(task)}
    for run in evaluated:
        if run.data.tags["model_md5"] not in known:
            try:
                lines.append(f"pets-{task}: version {register(task, run)} for the run {run.info.run_name}")
                known.add(run.data.tags["model_md5"])
            except NoModel as error:
                lines.append(str(error))
    after = champion_of(task)
    if after and (before is None or before.version != after.version):
        lines.append(f"pets-{task}: version {after.version} is {CHAMPION}")
    return lines
