"""`mlflow models serve` of both champions, asked over HTTP by someone who has pictures, or something else."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from pipeline.data.archives import read_pictures
from pipeline.data.pictures import size_of, square
from pipeline.evaluation.segmenter import predict_masks
from pipeline.tasks import TASKS
from pipeline.training.checkpoint import load_checkpoint
from tests.helpers.petsbuilder import encode
from tests.helpers.servers import free_port, kill, start

pytestmark = pytest.mark.slow

NO_PICTURE = "not a readable picture: cannot identify image file; allowed: JPEG, PNG, GIF, BMP"


def noise(mode: str, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


PICTURES = {
    "a wide JPEG": encode(noise("RGB", 61, 37), "JPEG"),
    "a CMYK JPEG": encode(noise("CMYK", 20, 31), "JPEG"),
    "a high PNG": encode(noise("RGB", 33, 90)),
    "a PNG with alpha": encode(noise("RGBA", 15, 16)),
    "a grey PNG": encode(noise("L", 5, 7)),
    "a PNG with a palette": encode(noise("P", 40, 40)),
    "a GIF": encode(noise("P", 18, 9), "GIF"),
    "one pixel": encode(noise("RGB", 1, 1)),
}


def opened(png: bytes) -> np.ndarray:
    """The values of a mask, uint8 (height, width)."""
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        return np.asarray(picture)


@contextmanager
def served(task: str, repository: Path, folder: Path) -> Iterator[str]:
    """Serve a task's champion from an empty folder, without this project on Python's path; yields the address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    store = ["env", f"--chdir={folder}", f"MLFLOW_TRACKING_URI=sqlite:///{repository / 'mlflow.db'}"]
    model = [f"--model-uri=models:/pets-{task}@champion", "--env-manager=local", f"--port={port}"]
    process = start([*store, "mlflow", "models", "serve", *model], folder / "log", lambda: is_up(url))
    try:
        yield f"{url}/invocations"
    finally:
        kill(process)


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/ping", timeout=1).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def segmenter(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("segmenter", repository, tmp_path_factory.mktemp("segmenter")) as url:
        yield url


@pytest.fixture(scope="module")
def classifier(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("classifier", repository, tmp_path_factory.mktemp("classifier")) as url:
        yield url


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def request_of(*contents: bytes) -> dict:
    return {"dataframe_records": [{"picture": base64_of(content)} for content in contents]}


def answer_of(task: str, repository: Path, picture: bytes) -> dict:
    """What the checkpoint says in this process."""
    model = load_checkpoint(repository / f"data/models/{task}.keras")
    image = square(picture, model.input_shape[1])
    (found,) = import_module(f"pipeline.evaluation.{task}").answer(model, image[None], [size_of(picture)])
    return found


def answers(url: str, *contents: bytes) -> list[dict]:
    answer = requests.post(url, json=request_of(*contents), timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_kind_and_size_gets_its_mask_and_areas(segmenter: str, repository: Path, name: str) -> None:
    (answer,) = answers(segmenter, PICTURES[name])
    found = opened(base64.b64decode(answer["mask"]))
    np.testing.assert_array_equal(found, answer_of("segmenter", repository, PICTURES[name])["mask"] + 1)
    for value, label in enumerate(TASKS["segmenter"].labels, 1):
        assert answer[label] == pytest.approx((found == value).sum() / found.size)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_kind_and_size_gets_a_label_with_its_probability(
    classifier: str, repository: Path, name: str
) -> None:
    (answer,) = answers(classifier, PICTURES[name])
    said = answer_of("classifier", repository, PICTURES[name])
    assert answer == said | {"probability": pytest.approx(said["probability"], abs=1e-6)}


def test_several_pictures_are_answered_in_their_order(segmenter: str) -> None:
    wide, high = PICTURES["a wide JPEG"], PICTURES["a high PNG"]
    shapes = [opened(base64.b64decode(answer["mask"])).shape for answer in answers(segmenter, high, wide, high)]
    assert shapes == [(90, 33), (37, 61), (90, 33)]


def test_the_servers_say_of_the_test_pictures_what_evaluation_said(
    segmenter: str, classifier: str, repository: Path
) -> None:
    table = pd.read_csv(repository / "data/plots/classifier/predictions.csv")
    pictures = dict(read_pictures(repository / "data/raw/images.tar.gz", set(table["stem"])))
    said = pd.DataFrame(answers(classifier, *(pictures[stem] for stem in table["stem"])))
    assert said["label"].tolist() == table["predicted"].tolist()
    dog = said["probability"].where(said["label"] == "dog", 1 - said["probability"])
    np.testing.assert_allclose(dog, table["dog_probability"], atol=1e-6)  # the size of a batch may change the last bits

    prepared = repository / "data/prepared/segmenter"
    samples = pd.read_csv(prepared / "samples.csv").query("split == 'test'")
    masks = [opened(base64.b64decode(a["mask"])) for a in answers(segmenter, *map(pictures.get, samples["stem"]))]
    small = [np.asarray(Image.fromarray(mask).resize((16, 16), Image.Resampling.NEAREST)) for mask in masks]
    model = load_checkpoint(repository / "data/models/segmenter.keras")
    evaluated = predict_masks(model, np.load(prepared / "images.npy")[samples.index])
    assert (np.stack(small) != evaluated + 1).mean() < 1e-4


@pytest.mark.parametrize("task", ["segmenter", "classifier"])
def test_what_is_no_picture_is_a_bad_request_that_names_the_row(request: pytest.FixtureRequest, task: str) -> None:
    body = request_of(PICTURES["a wide JPEG"], b"a letter about a cat")
    answer = requests.post(request.getfixturevalue(task), json=body, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["message"].endswith(f"row 1: {NO_PICTURE}")


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"", "application/json", 400, "Ensure that input is a valid JSON"),
        (b"{}", "application/json", 400, "'dataframe_records'"),
        (b'{"picture": "aGFsbG8="}', "application/json", 400, "'dataframe_records'"),
        (b'{"dataframe_records": [{"image": "aGFsbG8="}]}', "application/json", 400, "missing inputs ['picture']"),
        (b'{"dataframe_records": []}', "application/json", 400, "missing inputs ['picture']"),
        (b'{"dataframe_records": [{"picture": null}]}', "application/json", 400, "Failed to convert column picture"),
        (b'{"dataframe_records": [{"picture": "abcde"}]}', "application/json", 400, "Invalid base64-encoded string"),
        (PICTURES["a wide JPEG"], "application/json", 400, "Ensure that input is a valid JSON"),
        (PICTURES["a wide JPEG"], "image/jpeg", 415, "'application/json'"),
    ],
)
def test_another_request_is_a_4xx_that_says_what_is_expected(
    classifier: str, content: bytes, kind: str, status: int, words: str
) -> None:
    answer = requests.post(classifier, data=content, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code == status
    assert words in answer.text


@pytest.mark.parametrize(
    "body",
    [
        lambda text: {"dataframe_split": {"columns": ["picture"], "data": [[text]]}},
        lambda text: {"inputs": {"picture": [text]}},
        lambda text: {"inputs": [{"picture": text}]},
        lambda text: {"instances": [{"picture": text}]},
    ],
    ids=["dataframe_split", "inputs by column", "inputs by row", "instances"],
)
def test_every_form_of_request_that_mlflow_knows_carries_a_picture(classifier: str, body: Callable) -> None:
    picture = PICTURES["a PNG with alpha"]
    answer = requests.post(classifier, json=body(base64_of(picture)), timeout=60)
    assert answer.json()["predictions"] == answers(classifier, picture)
    answer = requests.post(classifier, json=body(base64_of(b"a letter")), timeout=60)
    assert (answer.status_code, NO_PICTURE in answer.text) == (400, True)
