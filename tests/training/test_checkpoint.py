"""The canonical checkpoint file, and checkpoints from elsewhere.

Those that want to run code, to read or write other files, or to grow, are refused.
"""

import base64
import io
import json
import marshal
import random
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.models.classifier import mini_xception
from pipeline.training.checkpoint import history_csv, load_checkpoint, save_checkpoint
from tests.helpers.project import REPOSITORY


def new_model() -> keras.Model:
    """With the weights of a seed; its shared layers have ids, which Keras takes from memory addresses."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    return mini_xception.build(32)


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    model = new_model()
    save_checkpoint(model, model.get_weights(), tmp_path / "here.keras")
    code = (
        "import sys; from pathlib import Path; from tests.training.test_checkpoint import *;"
        "model = new_model(); save_checkpoint(model, model.get_weights(), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there.keras"], check=True, cwd=REPOSITORY)
    assert (tmp_path / "here.keras").read_bytes() == (tmp_path / "there.keras").read_bytes()


def test_a_checkpoint_holds_the_given_values_and_no_optimizer(tmp_path: Path) -> None:
    model = new_model()
    given = [value + 1 for value in model.get_weights()]
    save_checkpoint(model, given, tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert not loaded.compiled
    for found, expected in zip(loaded.get_weights(), given, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (tmp_path / "a.keras").stat().st_size < 4 * model.count_params() + 200_000
    assert [file.name for file in tmp_path.iterdir()] == ["a.keras"]


def test_a_checkpoint_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("not a model")
    for name, says in (("text", "not a Keras checkpoint: .+"), ("missing", "no such file; `dvc repro` makes it")):
        with pytest.raises(InputError, match=rf"{tmp_path}/{name}.keras: {says}") as raised:
            load_checkpoint(tmp_path / f"{name}.keras")
        assert "\n" not in str(raised.value)


def test_a_history_is_a_row_per_epoch_with_all_digits() -> None:
    rows = [{"epoch": 1, "loss": 0.1 + 0.2, "val_loss": 1.0}, {"epoch": 2, "loss": 0.25, "val_loss": 2.0}]
    assert history_csv(rows) == "epoch,loss,val_loss\n1,0.30000000000000004,1.0\n2,0.25,2.0\n"


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


def layer(place: str, name: str, **config: object) -> Change:
    """The change that makes this the model's last layer."""

    def change(members: dict[str, bytes]) -> None:
        model = json.loads(members["config.json"])
        model["config"]["layers"][-1] = {"module": place, "class_name": name, "config": {"name": "x"} | config}
        members["config.json"] = json.dumps(model).encode()

    return change


def model(module: str, name: str, config: object) -> Change:
    """The change that makes this the model."""
    content = json.dumps({"module": module, "class_name": name, "config": config}).encode()
    return lambda members: members.update({"config.json": content})


def function(module: str, name: str) -> dict[str, object]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def lambda_that_writes(members: dict[str, bytes]) -> None:
    code = marshal.dumps(compile("open('mark', 'w')", "x", "eval"))
    body = {"class_name": "__lambda__", "config": {"code": base64.b64encode(code).decode()}}
    layer("keras.layers", "Lambda", function=body)(members)


def weights(change: Callable[[h5py.File, str], object]) -> Change:
    """The change of the HDF5 file inside: given the file and the name of the first array, which is gone."""

    def change_members(members: dict[str, bytes]) -> None:
        with h5py.File(io.BytesIO(members["model.weights.h5"]), "r+") as file:
            name = "layers/dense/vars/0"
            del file[name]
            change(file, name)
            file.flush()
            members["model.weights.h5"] = file.id.get_file_image()

    return change_members


def link_elsewhere(file: h5py.File, name: str) -> None:
    file[name] = h5py.ExternalLink("/etc/passwd", "x")


def keep_elsewhere(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (4, 3), "f4", external=[("/etc/passwd", 0, 48)])


def declare_terabytes(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (10**6, 10**6), "f4", chunks=(1000, 1000))


def add(name: str) -> Change:
    return lambda members: members.update({name: b""})


ACTIVATION, GET_FILE = function("os", "system"), {"fname": "mark", "origin": "file:///etc/hostname"}
REFUSED = {
    "a Lambda of bytecode": (lambda_that_writes, "Requested the deserialization of a `Lambda` layer"),
    "a module of Python": (model("os", "system", "touch mark"), "Expected 'config' to be a dict"),
    "a class of Python": (model("subprocess", "Popen", {"args": ["touch", "mark"]}), "Could not locate class 'Popen'"),
    "a function of Python": (layer("keras.layers", "Activation", activation=ACTIVATION), "Could not locate function"),
    "a download": (layer("keras.utils", "get_file", **GET_FILE), "is not a modeling function"),
    "a switch of Keras": (layer("keras.config", "enable_unsafe_deserialization"), "is not a modeling function"),
    "a pickle for Torch": (layer("keras.layers", "TorchModuleWrapper", module="gASVAAA="), ""),
    "a SavedModel": (layer("keras.layers", "TFSMLayer", filepath="saved"), "loads an external SavedModel"),
    "a file of words": (layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"), "vocabulary file outside"),
    "a link in HDF5": (weights(link_elsewhere), "Not allowed: H5 file with ExternalLink"),
    "a file behind HDF5": (weights(keep_elsewhere), "Not allowed: H5 file with external Dataset"),
    "terabytes in HDF5": (weights(declare_terabytes), "declares 3.64 TB but only"),
    "a path upwards": (add("../mark"), "it holds .*, ../mark; allowed: config.json, metadata.json, model.weights.h5"),
    "an absolute path": (add("/tmp/mark"), "it holds .*, /tmp/mark; allowed: "),
    "an asset": (add("assets/mark"), "it holds .*, assets/mark; allowed: "),
    "weights of NumPy": (add("model.weights.npz"), "it holds .*, model.weights.npz; allowed: "),
    "no weights": (lambda members: members.pop("model.weights.h5"), "it holds metadata.json, config.json; allowed: "),
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


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_checkpoint_that_would_grow_is_refused_before_it_does(tmp_path: Path, member: str) -> None:
    grown = {member: bytes(2**26)}
    bomb = changed(tmp_path, lambda members: members.update(grown), zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"json is compressed; allowed: stored, as Keras writes it"):
        load_checkpoint(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_hdf5_under_the_name_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    """As Keras wrote models once: their Lambda layers ran in safe mode, too (CVE-2025-9905)."""
    h5py.File(tmp_path / "old.keras", "w").close()
    with pytest.raises(InputError, match="not a Keras checkpoint: File is not a zip file"):
        load_checkpoint(tmp_path / "old.keras")


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, dict)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", b"{}")
    with pytest.raises(InputError, match=r"config.json; allowed: .*, once each"):
        load_checkpoint(path)


def test_a_checkpoint_cut_off_or_with_a_flipped_bit_is_refused_in_one_line_or_is_the_same(tmp_path: Path) -> None:
    whole = changed(tmp_path, dict).read_bytes()
    expected = load_checkpoint(tmp_path / "hostile.keras").get_weights()
    rng = random.Random(0)
    cuts = [whole[: rng.randrange(len(whole))] for _ in range(10)]
    flips = [flipped(whole, rng.randrange(8 * len(whole))) for _ in range(30)]
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


def flipped(content: bytes, bit: int) -> bytes:
    number = int.from_bytes(content) ^ (1 << bit)
    return number.to_bytes(len(content))
