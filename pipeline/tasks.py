"""The tasks, and what differs between them. A training asks nothing here: data and model say what it needs.

How a task answers a picture is the module pipeline/answers/TASK.py, how it is evaluated pipeline/evaluation/TASK.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A test metric that has an interval and a verdict. better: "more" or "less"."""

    name: str
    better: str = "more"


@dataclass(frozen=True)
class Task:
    """A model of the pipeline, and the stages that make it.

    description: for its users.
    labels: what the values 0, 1, ... of a target mean.
    column: the column of samples.csv whose label is a picture's target; None where the target is its trimap.
    metrics: the one that counts first.
    answer: the columns of an answer to a picture, by MLflow's types.
    """

    description: str
    labels: tuple[str, ...]
    column: str | None
    metrics: tuple[Metric, ...]
    answer: dict[str, str]

    @property
    def outputs(self) -> int:
        """Return how many numbers a model gives: of two labels the probability of the second, else of each."""
        return 1 if self.column and len(self.labels) == 2 else len(self.labels)


TASKS = {
    "segmenter": Task(
        description="Divides a picture of one cat or dog into pet (foreground), background and contour.",
        labels=("foreground", "background", "contour"),  # the trimaps' values 1, 2, 3
        column=None,
        metrics=(Metric("mean_iou"), Metric("pixel_accuracy")),
        answer={"mask": "binary", "foreground": "double", "background": "double", "contour": "double"},
    ),
    "classifier": Task(
        description="Tells whether a picture shows a cat or a dog, and how probable that is.",
        labels=("cat", "dog"),  # one output, the probability of a dog
        column="species",
        metrics=(Metric("accuracy"), Metric("balanced_accuracy"), Metric("macro_f1"), Metric("roc_auc")),
        answer={"label": "string", "probability": "double"},
    ),
}
