"""What `mlflow models serve` runs: bytes of pictures in, a row of answers out for each.

No module imports this one, the model in MLflow names it: else every stage that logs a model would depend on all that
an answer needs, and a colour changed in figures.py would train again.
"""

import base64
import io
from pathlib import Path
from typing import Any

import keras
import pandas as pd
from mlflow.exceptions import MlflowException
from PIL import Image

from pipeline.data.pictures import size_of
from pipeline.errors import InputError
from pipeline.predict import areas, classify, input_of, reading, segment
from pipeline.training.checkpoint import load_checkpoint


class PictureModel:
    """A checkpoint of either task that answers pictures of any size."""

    def __init__(self, model: keras.Model):
        self.model = model
        self.answer = _answer_mask if len(model.output_shape) == 4 else _answer_label

    def predict(self, request: pd.DataFrame) -> pd.DataFrame:
        """Column `picture`, bytes -> the columns of the model's signature.

        Raises MlflowException, which the server turns into status 400, for a row that is no readable picture.
        """
        try:
            return pd.DataFrame([self._answer(cell, f"row {row}") for row, cell in enumerate(request["picture"])])
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _answer(self, cell: object, name: str) -> dict[str, Any]:
        picture = _decoded(cell, name)
        with reading(name):
            return self.answer(self.model, picture)


def _decoded(cell: object, name: str) -> bytes:
    """The server decodes base64 in `dataframe_records` and `dataframe_split`, but not in `inputs`, `instances`, CSV."""
    if not isinstance(cell, bytes | str):
        raise InputError(f"{name}: {cell!r} is no picture; allowed: the bytes of a file, or these in base64")
    try:
        return base64.b64decode(type(cell)().join(cell.split()), validate=True)  # some write it in lines
    except ValueError:  # no picture consists of letters and digits alone
        return cell if isinstance(cell, bytes) else cell.encode()


def _answer_mask(model: keras.Model, picture: bytes) -> dict[str, Any]:
    """The mask as a PNG of the picture's size with the values of the trimaps, 1 to 3; the share of each class."""
    ((mask,), png) = segment(model, input_of(model, picture)[None], [size_of(picture)]), io.BytesIO()
    Image.fromarray(mask + 1).save(png, "PNG")
    return {"mask": png.getvalue()} | areas(mask)


def _answer_label(model: keras.Model, picture: bytes) -> dict[str, Any]:
    ((label, probability),) = classify(model, input_of(model, picture)[None])
    return {"label": label, "probability": probability}


def _load_pyfunc(path: str) -> PictureModel:
    """MLflow calls this with the checkpoint that was logged."""
    return PictureModel(load_checkpoint(Path(path)))
