"""`mlflow models serve` of a champion, asked over HTTP by someone who has pictures, or something else."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from pipeline.answers.segmenter import answer
from pipeline.data.pictures import size_of, square
from pipeline.tasks import TASKS
from pipeline.training.checkpoint import load_checkpoint
from tests.helpers.petsbuilder import encode
from tests.helpers.servers import free_port, is_up, kill, start

pytestmark = pytest.mark.slow

NO_PICTURE = "not a readable picture: cannot identify image file; allowed: JPEG, PNG, GIF, BMP"


def noise(mode: str, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


JPEG, ALPHA = encode(noise("RGB", 61, 37), "JPEG"), encode(noise("RGBA", 15, 16))
PICTURES = [JPEG, ALPHA, encode(noise("P", 18, 9), "GIF"), encode(noise("RGB", 1, 1))]


@pytest.fixture(scope="module")
def url(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the segmenter's champion is served, from an empty folder, without this project on Python's path."""
    folder, port = tmp_path_factory.mktemp("serving"), free_port()
    url = f"http://127.0.0.1:{port}"
    store = ["env", f"--chdir={folder}", f"MLFLOW_TRACKING_URI=sqlite:///{repository / 'mlflow.db'}"]
    model = ["--model-uri=models:/pets-segmenter@champion", "--env-manager=local", f"--port={port}"]
    process = start([*store, "mlflow", "models", "serve", *model], folder / "log", lambda: is_up(f"{url}/ping"))
    yield f"{url}/invocations"
    kill(process)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def ask(url: str, *contents: bytes) -> requests.Response:
    body = {"dataframe_records": [{"picture": base64_of(content)} for content in contents]}
    return requests.post(url, json=body, timeout=60)


def masks(answers: list[dict]) -> list[np.ndarray]:
    """The masks of answers, each uint8 (height, width)."""
    found = []
    for one in answers:
        with Image.open(io.BytesIO(base64.b64decode(one["mask"]))) as picture:
            assert (picture.format, picture.mode) == ("PNG", "L")
            found.append(np.asarray(picture))
    return found


def test_pictures_of_any_kind_and_size_get_their_masks_and_areas_in_their_order(url: str, repository: Path) -> None:
    model = load_checkpoint(repository / "data/models/segmenter.keras")
    answers = ask(url, *PICTURES).json()["predictions"]
    for said, found, picture in zip(answers, masks(answers), PICTURES, strict=True):
        (expected,) = answer(model, square(picture, 16)[None], [size_of(picture)])
        np.testing.assert_array_equal(found, expected["mask"] + 1)
        for value, label in enumerate(TASKS["segmenter"].labels, 1):
            assert said[label] == pytest.approx((found == value).sum() / found.size)


@pytest.mark.parametrize(
    "body",
    [
        lambda texts: {"dataframe_split": {"columns": ["picture"], "data": [[text] for text in texts]}},
        lambda texts: {"inputs": {"picture": texts}},
        lambda texts: {"instances": [{"picture": text} for text in texts]},
    ],
    ids=["dataframe_split", "inputs", "instances"],
)
def test_every_form_of_request_that_mlflow_knows_carries_pictures_and_what_is_none_is_a_bad_one_that_names_the_row(
    url: str, body: Callable[[list[str]], dict]
) -> None:
    picture, letter = base64_of(ALPHA), base64_of(b"a letter about a cat")
    assert requests.post(url, json=body([picture]), timeout=60).json() == ask(url, ALPHA).json()
    answer = requests.post(url, json=body([picture, letter]), timeout=60)
    assert (answer.status_code, f"row 1: {NO_PICTURE}" in answer.text) == (400, True)


def test_a_request_of_too_many_pictures_or_pixels_is_a_bad_one(url: str) -> None:
    large = encode(Image.new("1", (5000, 5000)))  # 4 kB
    many = {"33 pictures; allowed in a request: 32": [ALPHA] * 33}
    many |= {"75,000,000 pixels in 3 pictures; allowed in a request: 50,000,000": [large] * 3}
    for says, pictures in many.items():
        answer = ask(url, *pictures)
        assert (answer.status_code, says in answer.text) == (400, True)
