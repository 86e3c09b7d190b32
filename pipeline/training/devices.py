"""Choose what a training computes on, and in which numbers."""

import os
import re
from pathlib import Path

import tensorflow as tf

from pipeline.errors import InputError

CPUINFO = Path("/proc/cpuinfo")
# Values of ONEDNN_MAX_CPU_ISA that forbid oneDNN the instructions for bfloat16.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def device(precision: str) -> str:
    """Name the GPUs that TensorFlow sees, or "CPU", and Keras' policy there. People read it; it tells states apart."""
    names = [_details(gpu).get("device_name", gpu.name) for gpu in _gpus()] or ["CPU"]
    return ", ".join([*names, keras_policy(precision)])


def keras_policy(precision: str) -> str:
    """Return Keras' name for a `precision` of params.yaml on this machine.

    "mixed" is bfloat16 on GPUs from compute capability 8, float16 on those from 7. Without a GPU it is bfloat16 on
    processors that have instructions for it, unless the user's environment forbids oneDNN to use them. Elsewhere it is
    float32. Weights, and sums over a batch, are float32 in each.
    """
    if precision == "float32":
        return "float32"
    if _gpus():
        oldest = min(_details(gpu).get("compute_capability", (0, 0)) for gpu in _gpus())
        return "mixed_bfloat16" if oldest >= (8, 0) else "mixed_float16" if oldest >= (7, 0) else "float32"
    # CPUs without bfloat16 instructions run it slower than float32, and ops outside oneDNN many times slower.
    has_bfloat16 = CPUINFO.exists() and re.search(r"\b(avx512_bf16|amx_bf16)\b", CPUINFO.read_text())
    is_off = os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" or os.environ.get("ONEDNN_MAX_CPU_ISA") in WITHOUT_BFLOAT16
    return "mixed_bfloat16" if has_bfloat16 and not is_off else "float32"


def strategy(replicas: int) -> tf.distribute.Strategy:
    """Return what spreads each batch over this many GPUs; without a GPU, over as many logical devices of the processor.

    Raises InputError for a machine that has GPUs, but fewer.
    """
    if replicas == 1:
        return tf.distribute.get_strategy()
    if _gpus() and len(_gpus()) < replicas:
        raise InputError(f"params.yaml: replicas: {replicas}: this machine has {len(_gpus())} GPU(s); allowed: as many")
    if not _gpus():
        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * replicas)
    kind = "GPU" if _gpus() else "CPU"
    return tf.distribute.MirroredStrategy([f"{kind}:{k}" for k in range(replicas)])


def _gpus() -> list:
    return tf.config.list_physical_devices("GPU")


def _details(gpu) -> dict:
    return tf.config.experimental.get_device_details(gpu)
