"""Choose what a training computes on, and in which numbers."""

import platform
import re
from pathlib import Path

import tensorflow as tf

from pipeline.errors import InputError

CPUINFO = Path("/proc/cpuinfo")


def device(precision: str) -> str:
    """Name the GPUs that TensorFlow sees, or "CPU", and Keras' policy there. People read it; it tells states apart."""
    names = [_details(gpu).get("device_name", gpu.name) for gpu in _gpus()] or ["CPU"]
    return ", ".join([*names, keras_policy(precision)])


def keras_policy(precision: str) -> str:
    """Return Keras' name for a `precision` of params.yaml on this machine.

    "mixed" is bfloat16 on GPUs from compute capability 8, float16 on those from 7. Without a GPU it is bfloat16 on
    processors that have instructions for it: others run it slower than float32. Elsewhere it is float32. Weights, and
    sums over a batch, are float32 in each.
    """
    if precision == "float32":
        return "float32"
    if _gpus():
        oldest = min(_details(gpu).get("compute_capability", (0, 0)) for gpu in _gpus())
        return "mixed_bfloat16" if oldest >= (8, 0) else "mixed_float16" if oldest >= (7, 0) else "float32"
    return "mixed_bfloat16" if re.search(r"\b(avx512_bf16|amx_bf16)\b", processor()) else "float32"


def processor() -> str:
    """Return the processor's model and instructions: another one rounds differently."""
    if not CPUINFO.exists():
        return platform.processor()
    return " ".join(re.findall(r"^(?:model name|flags)\s*:.*", CPUINFO.read_text(), re.MULTILINE)[:2])


def strategy(replicas: int) -> tf.distribute.Strategy:
    """Return what spreads each batch over this many GPUs; without a GPU, over as many logical devices of the processor.

    Raises InputError for a machine that has GPUs, but fewer.
    """
    if replicas == 1:
        return tf.distribute.get_strategy()
    kind, gpus = "GPU", len(_gpus())
    if not gpus:
        kind, (processor,) = "CPU", tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * replicas)
    elif gpus < replicas:
        raise InputError(f"params.yaml: replicas: {replicas}: this machine has {gpus} GPU(s); allowed: as many")
    return tf.distribute.MirroredStrategy([f"{kind}:{k}" for k in range(replicas)])


def _gpus() -> list:
    return tf.config.list_physical_devices("GPU")


def _details(gpu) -> dict:
    return tf.config.experimental.get_device_details(gpu)
