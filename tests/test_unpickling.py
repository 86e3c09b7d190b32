"""Nothing is unpickled, from the first epoch to the answer of a model in MLflow."""

import pickle
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.evaluate import evaluate
from pipeline.predict import predict
from pipeline.train import train
from tests.helpers.colourmodels import write_segmenter
from tests.helpers.petsbuilder import picture
from tests.helpers.training import only_run, train_until

FOUND: list[str] = []  # the classes and functions that pickles named since the list was emptied


def note(event: str, arguments: tuple) -> None:
    if event == "pickle.find_class":
        FOUND.append(".".join(arguments))


class OnLoad:
    """What makes a file when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("mark"),)


@pytest.fixture(scope="module", autouse=True)
def noted() -> None:
    sys.addaudithook(note)  # for the rest of the process


def test_no_stage_no_prediction_and_no_model_in_mlflow_unpickles_anything(prepared: Path) -> None:
    Path("pet.png").write_bytes(picture("Abyssinian_9"))
    FOUND.clear()
    train_until("classifier", "epoch 2/3")
    train("classifier")
    evaluate("classifier")
    write_segmenter(Path("data/models/segmenter.keras"))
    predict([Path("pet.png")], None)
    (logged,) = only_run("classifier").outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    assert len(model.predict(pd.DataFrame({"picture": [Path("pet.png").read_bytes()]}))) == 1
    assert FOUND == []

    pickle.loads(pickle.dumps(OnLoad()))
    assert FOUND, "a pickle would have been noted"


def test_a_pickle_in_the_place_of_pictures_is_refused(prepared: Path) -> None:
    np.save("data/prepared/classifier/images.npy", np.array([OnLoad()]))
    with pytest.raises(InputError, match=r"data/prepared/classifier: .*Python objects"):
        train("classifier")
    assert not Path("mark").exists()


def test_a_pickle_in_the_place_of_a_state_is_damage(prepared: Path, capsys: pytest.CaptureFixture) -> None:
    train_until("classifier", "epoch 2/3")
    (state,) = Path(".training").glob("*.npz")
    np.savez(state, np.array([OnLoad()]), meta="{}")
    train("classifier")
    assert "damaged, the training starts afresh (Object arrays cannot be loaded" in capsys.readouterr().out
    assert not Path("mark").exists()
