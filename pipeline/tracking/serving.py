"""A checkpoint in MLflow as a model that takes what a user has: a JPEG or PNG of any size.

What is logged is the .keras file itself, the same bytes that dvc.lock names, and this package to load it: no pickle.
"""

import io
import logging
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema
from PIL import Image

import pipeline
from pipeline.tasks import TASKS
from pipeline.tracking.store import MODEL

PICTURE = Schema([ColSpec("binary", "picture")])  # base64 over HTTP
# What loader.py needs.
PACKAGES = (
    "keras matplotlib mlflow numpy opencv-python-headless pandas pillow pydantic ruamel.yaml scikit-learn simplejpeg "
    "tensorflow"
)


def log_model(task: str, checkpoint: Path) -> ModelInfo:
    """Log the checkpoint of a task to the active run as its model.

    checkpoint: a file whose name is TASK.keras: by that loader.py knows the task.
    """
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # a line of INFO about the example each time
    answer = Schema([ColSpec(kind, name) for name, kind in TASKS[task].answer.items()])
    return mlflow.pyfunc.log_model(
        name=MODEL,
        loader_module="pipeline.tracking.loader",
        data_path=str(checkpoint),
        code_paths=[str(Path(pipeline.__file__).parent)],
        signature=ModelSignature(PICTURE, answer),
        input_example=pd.DataFrame({"picture": [_drawn_picture()]}),
        pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES.split()],
    )


def _drawn_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), "tan").save(file, "PNG")
    return file.getvalue()
