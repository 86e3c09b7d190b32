"""What `mlflow models serve` runs: bytes of pictures in, a row of answers out for each."""

import base64
import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import keras
import pandas as pd
from mlflow.exceptions import MlflowException

from pipeline.data.pictures import readable, size_of, square
from pipeline.errors import InputError
from pipeline.training.checkpoint import load_checkpoint


class PictureModel:
    """A checkpoint that answers pictures of any size, by pipeline/answers/TASK.py.

    A mask is answered as a PNG of the picture's size with the values of the trimaps, 1 to 3.
    The variables PETS_MAX_PICTURES and PETS_MAX_PIXELS limit a request: a file of 84 kB may hold 25,000,000 pixels,
    which take 1.3 s.
    """

    def __init__(self, task: str, model: keras.Model):
        self.model = model
        self.max_pictures = int(os.environ.get("PETS_MAX_PICTURES", 32))
        self.max_pixels = int(os.environ.get("PETS_MAX_PIXELS", 50_000_000))
        self.answer = import_module(f"..answers.{task}", __package__).answer

    def predict(self, request: pd.DataFrame) -> pd.DataFrame:
        """Answer the column `picture`, bytes, by the columns of the model's signature.

        Raises MlflowException, which the server turns into status 400, for a row that is no readable picture, and for
        too many pictures or pixels.
        """
        try:
            pictures = self._accepted(request["picture"])
            return pd.DataFrame([self._answer(picture, f"row {row}") for row, picture in enumerate(pictures)])
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def _accepted(self, cells: pd.Series) -> list[bytes]:
        """Return the pictures of a request within the limits, of which only the headers have been read."""
        if len(cells) > self.max_pictures:
            raise InputError(f"{len(cells)} pictures; allowed in a request: {self.max_pictures}")
        pictures, pixels = [_decoded(cell, f"row {row}") for row, cell in enumerate(cells)], 0
        for row, picture in enumerate(pictures):
            with readable(f"row {row}"):
                pixels += math.prod(size_of(picture))
        if pixels > self.max_pixels:
            raise InputError(f"{pixels:,} pixels in {len(cells)} pictures; allowed in a request: {self.max_pixels:,}")
        return pictures

    def _answer(self, picture: bytes, name: str) -> dict[str, Any]:
        with readable(name):
            image, size = square(picture, self.model.input_shape[1]), size_of(picture)
        (found,) = self.answer(self.model, image[None], [size])
        if "mask" in found:
            found["mask"] = cv2.imencode(".png", found["mask"] + 1, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()
        return found


def _decoded(cell: object, name: str) -> bytes:
    """Decode base64: the server does it in `dataframe_records` and `dataframe_split`, not in `inputs`, CSV."""
    if not isinstance(cell, bytes | str):
        raise InputError(f"{name}: {repr(cell)[:100]} is no picture; allowed: the bytes of a file, or these in base64")
    try:
        return base64.b64decode(type(cell)().join(cell.split()), validate=True)  # some write it in lines
    except ValueError:  # no picture consists of letters and digits alone
        return cell if isinstance(cell, bytes) else cell.encode()


def _load_pyfunc(path: str) -> PictureModel:
    """Load the checkpoint that was logged, for MLflow."""
    return PictureModel(Path(path).stem, load_checkpoint(Path(path)))
