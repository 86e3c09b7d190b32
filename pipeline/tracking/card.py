"""What a person reads of a run and of a version, in Markdown, written from the metrics. Nothing here asks the store."""

from mlflow.entities import Run

from pipeline.tasks import TASKS
from pipeline.tracking.results import paths
from pipeline.tracking.views import run_links

CARD = "# pets-"  # with which a model card begins
LIMITS = (
    "Pictures of one pet, taken as stored (EXIF rotation is not applied) and squeezed to a square. A picture without a "
    "pet gets an answer, too. Breeds that were not in training may be answered worse. Intervals are over the test "
    "pictures of one training: another seed moves a metric further."
)
SOURCES = {
    "official": "Oxford-IIIT Pets (O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, *Cats and Dogs*, CVPR 2012)",
    "embedded": "embedded pets, which are drawn: the model is a demonstration and knows no real animal",
}


def run_description(task: str, run: Run, scores: dict[str, float]) -> str:
    """Return the description of an evaluated run: where its curves and its checkpoint are, its test metrics."""
    return "\n\n".join(
        [
            run_links(run.info.experiment_id, run.info.run_id),
            _training(run),
            f"DVC has the checkpoint as `{paths(task)['model_md5']}`, md5 `{run.data.tags['model_md5']}`.",
            _table(scores),
        ]
    )


def model_card(task: str, run: Run, scores: dict[str, float]) -> str:
    """Return the model card of an evaluated run's checkpoint: use, data, metrics, limits."""
    params = run.data.params
    data = f"{SOURCES[params.get('dataset', 'official')]}; prepared under md5 `{run.data.tags['data_md5']}`"
    return "\n\n".join(
        [
            f"{CARD}{task}: {params['architecture']}, {params['image_size']} x {params['image_size']}",
            TASKS[task].description,
            f"**Data**: {data}. Validation chose the epoch; the test split was used once.",
            f"**Training**: {_training(run)} The run `{run.info.run_id}` has every parameter.",
            "**Test split**:",
            _table(scores),
            f"**Limits**: {LIMITS}",
        ]
    )


def _training(run: Run) -> str:
    best, epochs = run.data.metrics, run.data.params["epochs"]
    return f"Best of {epochs} epochs by validation loss: {best['best_epoch']:.0f} ({best['best_val_loss']:.4f})."


def _table(scores: dict[str, float]) -> str:
    """Each metric that has an interval."""
    rows = [
        f"| {name} | {value:.4f} | {scores[f'{name}_low']:.4f} to {scores[f'{name}_high']:.4f} |"
        for name, value in scores.items()
        if f"{name}_low" in scores
    ]
    return "\n".join(["| test metric | value | 95 % interval |", "| --- | --- | --- |", *rows])
