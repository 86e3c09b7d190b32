"""A checkpoint in MLflow as a model that takes what a user has: a JPEG or PNG of any size.

What is logged is the .keras file itself, the same bytes that dvc.lock names, and the code that answers: no pickle.
"""

import hashlib
import logging
import re
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema

import pipeline
from pipeline.tasks import TASKS
from pipeline.tracking.store import MODEL

PICTURE = Schema([ColSpec("binary", "picture")])  # base64 over HTTP
# loader.py and what it imports. pipeline/__init__.py is left out: it prepares programs of this project.
CODE = "errors paths outputs tasks answers/{task} data/pictures training/checkpoint tracking/loader"
PACKAGES = "keras mlflow numpy opencv-python-headless pandas pillow simplejpeg tensorflow"


def log_model(task: str, checkpoint: Path) -> ModelInfo:
    """Log the checkpoint of a task to the active run as its model.

    checkpoint: a file whose name is TASK.keras: by that loader.py knows the task.
    """
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # a line of INFO about the example each time
    answer = Schema([ColSpec(kind, name) for name, kind in TASKS[task].answer.items()])
    example = cv2.imencode(".png", np.full((24, 32, 3), 200, np.uint8))[1].tobytes()  # a grey picture
    with TemporaryDirectory() as folder:
        package = _pack(task, Path(folder))
        return mlflow.pyfunc.log_model(
            name=MODEL,
            loader_module=f"{package.name}.tracking.loader",
            data_path=str(checkpoint),
            code_paths=[str(package)],
            signature=ModelSignature(PICTURE, answer),
            input_example=pd.DataFrame({"picture": [example]}),
            pip_requirements=[f"{name}=={version(name)}" for name in PACKAGES.split()],
        )


def _pack(task: str, folder: Path) -> Path:
    """Copy CODE to a package of the folder whose name only the same code has; return its path.

    MLflow imports it by name, in a process that may have another `pipeline`, or a version with other code.
    """
    source = Path(pipeline.__file__).parent
    texts = {name: (source / f"{name}.py").read_text("utf-8") for name in CODE.format(task=task).split()}
    package = folder / f"pets_{task}_{hashlib.sha256(''.join(texts.values()).encode()).hexdigest()[:12]}"
    for name, text in texts.items():
        target = package / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub("^from pipeline", f"from {package.name}", text, flags=re.MULTILINE), "utf-8")
    return package
