"""The model card, in Markdown, which a run and its version show. Nothing here asks the store."""

from mlflow.entities import Run

from pipeline.tasks import TASKS

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


def model_card(task: str, run: Run) -> str:
    """Return the model card of an evaluated run's checkpoint: use, data, metrics, limits."""
    params, tags, best = run.data.params, run.data.tags, run.data.metrics
    data = SOURCES[params.get("dataset", "official")]
    epoch = f"epoch {best['best_epoch']:.0f} of {params['epochs']}, the best by validation loss"
    return "\n\n".join(
        [
            f"{CARD}{task}: {params['architecture']}, {params['image_size']} x {params['image_size']}",
            TASKS[task].description,
            f"**Data**: {data}. Validation chose the epoch; the test split chose nothing.",
            f"**Training**: {epoch} ({best['best_val_loss']:.4f}). The run `{run.info.run_id}` has every parameter.",
            f"**In DVC**: the checkpoint has the md5 `{tags['model_md5']}`, the prepared data `{tags['data_md5']}`.",
            "**Test split**:",
            _table(task, best),
            f"**Limits**: {LIMITS}",
        ]
    )


def _table(task: str, metrics: dict[str, float]) -> str:
    rows = [
        f"| {name} | {metrics[test]:.4f} | {metrics[f'{test}_low']:.4f} to {metrics[f'{test}_high']:.4f} |"
        for name, test in [(metric.name, f"test_{metric.name}") for metric in TASKS[task].metrics]
        if f"{test}_low" in metrics  # a class may lack
    ]
    return "\n".join(["| test metric | value | 95 % interval |", "| --- | --- | --- |", *rows])
