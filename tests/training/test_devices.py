"""The precision and the devices that the parameters choose, on machines of several kinds."""

import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.training import devices
from tests.helpers.project import REPOSITORY, run_in, start_stage, tiny, write_params, write_prepared

PROCESSORS = {
    "flags\t\t: fpu avx512f avx512_bf16 avx512_vbmi": "mixed_bfloat16",
    "flags\t\t: fpu avx2 fma": "float32",
    "Features\t: fp asimd bf16": "float32",  # ARM: nobody has measured it
}


def with_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int] | None) -> None:
    """Pretend GPUs of these compute capabilities; TensorFlow does not know that of None."""
    details = [
        {"device_name": f"GPU {k}"} | ({"compute_capability": c} if c else {}) for k, c in enumerate(capabilities)
    ]
    monkeypatch.setattr(
        devices, "_gpus", lambda: [SimpleNamespace(name=f"GPU:{k}", details=d) for k, d in enumerate(details)]
    )
    monkeypatch.setattr(devices, "_details", lambda gpu: gpu.details)


@pytest.mark.parametrize(("cpuinfo", "policy"), PROCESSORS.items())
def test_mixed_is_bfloat16_on_processors_that_compute_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, policy: str
) -> None:
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    assert devices.keras_policy("mixed") == "float32", "a system without that file"
    devices.CPUINFO.write_text(f"processor\t: 0\n{cpuinfo}\n")
    assert devices.device("mixed") == f"CPU, {policy}"
    assert devices.device("float32") == "CPU, float32"


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [
        ([(8, 0), (9, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 0)], "mixed_float16"),
        ([(9, 0), None], "float32"),
    ],
)
def test_mixed_is_what_the_oldest_gpu_computes_in(
    monkeypatch: pytest.MonkeyPatch, capabilities: list, policy: str
) -> None:
    with_gpus(monkeypatch, *capabilities)
    assert devices.device("mixed") == f"GPU 0, GPU 1, {policy}"
    assert devices.device("float32") == "GPU 0, GPU 1, float32"


def test_more_replicas_than_gpus_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, (9, 0))
    with pytest.raises(InputError, match=r"^params.yaml: replicas: 2: this machine has 1 GPU\(s\); allowed: as many$"):
        devices.strategy(2)


def write_training(folder: Path, **changes: object) -> None:
    """A prepared project in float32 whose 8 training pictures are two batches."""
    if not (folder / "data").exists():
        write_prepared(folder, "classifier", train=8)
    write_params(folder, **tiny(train_classifier={"precision": "float32"} | changes))


def train(folder: Path, **changes: object) -> np.ndarray:
    """Train the classifier in a process of its own, which its devices need; its history, a row per epoch."""
    write_training(folder, **changes)
    done = run_in(folder, "python", "-m", "pipeline.train", "classifier", PYTHONPATH=str(REPOSITORY))
    (folder / "printed").write_text(done.stdout)
    return pd.read_csv(folder / "data/history/classifier.csv").to_numpy()


@pytest.mark.slow
def test_replicas_and_xla_train_the_same_model(tmp_path: Path) -> None:
    plain = train(tmp_path / "plain")
    for found in (train(tmp_path / "replicas", replicas=4), train(tmp_path / "xla", jit_compile=True)):
        np.testing.assert_allclose(found, plain, rtol=0.02)
        assert not np.array_equal(found, plain)  # in the last digits: the sums were made in another order


@pytest.mark.slow
def test_replicas_go_on_where_they_stopped(tmp_path: Path) -> None:
    whole, split = tmp_path / "whole", tmp_path / "split"
    expected = train(whole, replicas=2, architecture="mini_xception")
    # Mini-Xception: moving statistics and dropout have states of their own on each device.
    write_training(split, replicas=2, architecture="mini_xception")
    process = start_stage(split, "train", "classifier")
    for line in process.stdout:
        if "epoch 2/3" in line:
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=60)
    assert len(list((split / ".training").glob("*.npz"))) == 1
    np.testing.assert_array_equal(train(split, replicas=2, architecture="mini_xception"), expected)
    assert "epoch 1/3" not in (split / "printed").read_text()
