"""What `mlflow models serve` runs: bytes of pictures in, a row of answers out for each."""

import base64
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.data.pictures import readable, size_of, square
from pipeline.errors import InputError
from pipeline.training.checkpoint import load_checkpoint


class PictureModel:
    """A checkpoint that answers pictures of any size, by pipeline/evaluation/TASK.py."""

    def __init__(self, task: str, model: keras.Model):
        self.model = model
        self.answer = import_module(f"pipeline.evaluation.{task}").answer

    def predict(self, request: pd.DataFrame) -> pd.DataFrame:
        """Answer the column `picture`, bytes, by the columns of the model's signature.

        Raises MlflowException, which the server turns into status 400, for a row that is no readable picture.
        """
        try:
            return pd.DataFrame([self._answer(cell, f"row {row}") for row, cell in enumerate(request["picture"])])
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _answer(self, cell: object, name: str) -> dict[str, Any]:
        picture = _decoded(cell, name)
        with readable(name):
            image, size = square(picture, self.model.input_shape[1]), size_of(picture)
        (found,) = self.answer(self.model, image[None], [size])
        return {column: _png(value) if isinstance(value, np.ndarray) else value for column, value in found.items()}


def _decoded(cell: object, name: str) -> bytes:
    """Decode base64: the server does it in `dataframe_records` and `dataframe_split`, not in `inputs`, CSV."""
    if not isinstance(cell, bytes | str):
        raise InputError(f"{name}: {cell!r} is no picture; allowed: the bytes of a file, or these in base64")
    try:
        return base64.b64decode(type(cell)().join(cell.split()), validate=True)  # some write it in lines
    except ValueError:  # no picture consists of letters and digits alone
        return cell if isinstance(cell, bytes) else cell.encode()


def _png(mask: np.ndarray) -> bytes:
    """Return a mask as a PNG of the picture's size with the values of the trimaps, 1 to 3."""
    file = io.BytesIO()
    Image.fromarray(mask + 1).save(file, "PNG")
    return file.getvalue()


def _load_pyfunc(path: str) -> PictureModel:
    """Load the checkpoint that was logged, for MLflow."""
    return PictureModel(Path(path).stem, load_checkpoint(Path(path)))
