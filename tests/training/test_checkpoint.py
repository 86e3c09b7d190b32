"""The canonical checkpoint file, and checkpoints from elsewhere: what is no plain model of Keras is refused."""

import base64
import json
import marshal
import random
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.models.classifier import mini_xception
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.project import REPOSITORY, run_in
from tests.models.test_models import SMALL, build, pictures


def new_model() -> keras.Model:
    """With the weights of a seed; its shared layers have ids, which Keras takes from memory addresses."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    return mini_xception.build(32)


def test_a_checkpoint_holds_the_given_values_no_optimizer_and_no_trace_of_when_and_where(tmp_path: Path) -> None:
    models = [new_model(), new_model()]
    given = [value + 1 for value in models[0].get_weights()]
    for name, model in zip("ab", models, strict=True):
        save_checkpoint(model, given, tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        assert json.loads(archive.read("metadata.json"))["date_saved"] == ""
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert not loaded.compiled
    for found, expected in zip(loaded.get_weights(), given, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.keras", "b.keras"]


def test_a_checkpoint_of_layers_within_layers_is_the_same_model(tmp_path: Path) -> None:
    each = keras.layers.TimeDistributed(keras.layers.Dense(3, use_bias=False))
    model = keras.Sequential([keras.Input((2, 4)), each, keras.layers.Bidirectional(keras.layers.GRU(5))])
    save_checkpoint(model, model.get_weights(), tmp_path / "odd.keras")
    loaded = load_checkpoint(tmp_path / "odd.keras")
    assert loaded.to_json() == model.to_json()
    steps = np.ones((1, 2, 4), np.float32)
    np.testing.assert_array_equal(loaded(steps), model(steps))


@pytest.mark.slow
def test_the_oldest_keras_that_the_documents_name_gives_the_same_answers_on_another_backend(tmp_path: Path) -> None:
    oldest = re.search(r"Keras (3\.\d+) or later", (REPOSITORY / "docs/serving.md").read_text())[1]
    python, packages = "old/bin/python", [f"keras=={oldest}.*", "jax==0.10.2", "packaging"]
    run_in(tmp_path, "uv", "venv", "--python", sys.executable, "old")
    run_in(tmp_path, "uv", "pip", "install", "--python", python, *packages)
    for name, size in SMALL.items():
        model = build(name, size)
        save_checkpoint(model, model.get_weights(), tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", pictures(size))
    answer = "import sys, keras, numpy as np; load = keras.saving.load_model; "
    answer += "[np.save(f'{one}-answers', load(f'{one}.keras')(np.load(f'{one}.npy'))) for one in sys.argv[1:]]"
    run_in(tmp_path, python, "-c", answer, *SMALL, KERAS_BACKEND="jax")
    for name in SMALL:
        expected = load_checkpoint(tmp_path / f"{name}.keras").predict_on_batch(np.load(tmp_path / f"{name}.npy"))
        np.testing.assert_allclose(np.load(tmp_path / f"{name}-answers.npy"), expected, atol=1e-5)


Change = Callable[[dict[str, bytes]], object]


def changed(path: Path, change: Change, compression: int = zipfile.ZIP_STORED) -> Path:
    """A checkpoint, `hostile.keras` in this folder, whose members were changed before they were written."""
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(path / "good.keras")
    with zipfile.ZipFile(path / "good.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path / "hostile.keras", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path / "hostile.keras"


def run_code(members: dict[str, bytes]) -> None:
    """Make the last layer a Lambda whose bytecode leaves a file."""
    code = base64.b64encode(marshal.dumps(compile("open('mark', 'w')", "x", "eval"))).decode()
    config = {"name": "x", "function": {"class_name": "__lambda__", "config": {"code": code}}}
    model = json.loads(members["config.json"])
    model["config"]["layers"][-1] = {"module": "keras.layers", "class_name": "Lambda", "config": config}
    members["config.json"] = json.dumps(model).encode()


ONLY = "allowed: config.json, metadata.json, model.weights.h5, once each, not compressed"
REFUSED = {
    "code": (run_code, "Requested the deserialization of a `Lambda` layer"),
    "a path upwards": (lambda members: members.update({"../mark": b""}), rf"it holds .*, \.\./mark; {ONLY}"),
    "no weights": (lambda members: members.pop("model.weights.h5"), f"it holds metadata.json, config.json; {ONLY}"),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_a_checkpoint_that_wants_more_than_to_be_loaded_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = changed(tmp_path, change)
    with pytest.raises(InputError, match=rf"{hostile}: not a Keras checkpoint: .*{says}") as caught:
        load_checkpoint(hostile)
    assert str(caught.value).isprintable()
    assert {path.name for path in tmp_path.iterdir()} == {"good.keras", "hostile.keras"}


def test_a_member_that_is_there_twice_or_would_grow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"config.json \(compressed\), model.weights.h5 \(compressed\); {ONLY}"):
        load_checkpoint(changed(tmp_path, dict, zipfile.ZIP_DEFLATED))
    path = changed(tmp_path, dict)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", b"{}")
    with pytest.raises(InputError, match=f"config.json; {ONLY}"):
        load_checkpoint(path)


def test_a_checkpoint_cut_off_or_with_a_flipped_bit_is_refused_in_one_line_or_is_the_same(tmp_path: Path) -> None:
    whole = changed(tmp_path, dict).read_bytes()
    expected = load_checkpoint(tmp_path / "hostile.keras").get_weights()
    rng = random.Random(0)
    cuts = [whole[: rng.randrange(len(whole))] for _ in range(5)]
    flips = [(int.from_bytes(whole) ^ 1 << rng.randrange(8 * len(whole))).to_bytes(len(whole)) for _ in range(20)]
    refused = 0
    for content in (*cuts, *flips):
        (tmp_path / "broken.keras").write_bytes(content)
        try:
            found = load_checkpoint(tmp_path / "broken.keras").get_weights()
        except InputError as error:
            refused += str(error).isprintable()
        else:
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    assert refused > len(cuts)
