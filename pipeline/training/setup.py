"""What a training starts from: a model with the weights that the seed decides, and its compiled twin."""

from importlib import import_module

import keras
import numpy as np
import tensorflow as tf

from pipeline.data.dataset import Dataset
from pipeline.errors import InputError, one_line
from pipeline.params import Train
from pipeline.training.devices import device, keras_policy, strategy
from pipeline.training.twin import check_twin, training_twin

CHECKED = 4  # pictures that model and twin are compared on
SAMPLE = 1000  # pictures, about, in which every class occurs


def new_models(task: str, params: Train, data: Dataset) -> tuple[keras.Model, keras.Model]:
    """Return the model of a task's architecture, and its twin, which trains: the same for the same seed.

    Raises InputError for an architecture that does not fit the pictures, or too few GPUs.
    """
    spread = strategy(params.replicas)  # before anything is computed
    keras.utils.clear_session()  # layers are named by counting them: from the start, or the checkpoint's bytes differ
    keras.utils.set_random_seed(params.seed)
    if not params.jit_compile:  # XLA has no deterministic kernels for all of what the models do; Keras turns it off
        tf.config.experimental.enable_op_determinism()
    model, policy = build_model(task, params.architecture, data), keras_policy(params.precision)
    with spread.scope():
        (twin, loss, accuracy), optimizer = training_twin(model, policy), keras.optimizers.RMSprop(params.learning_rate)
        if policy == "mixed_float16":  # whose small gradients vanish
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(twin.trainable_variables)  # so that a state can be restored to it
        twin.compile(optimizer, loss, metrics=[accuracy], jit_compile=params.jit_compile)
    check_twin(model, data.images[data.rows("train")[:CHECKED]])  # last: it draws seeds
    print(f"{model.name}: {model.count_params():,} parameters, on {device(params.precision)}")
    return model, twin


def build_model(task: str, architecture: str, data: Dataset) -> keras.Model:
    """Build the architecture for the pictures of a dataset. Raises InputError if it, or its output, does not fit."""
    size, key = data.image_size, f"params.yaml: train_{task}.architecture: {architecture}"
    try:
        model = import_module(f"pipeline.models.{task}.{architecture}").build(size)
    except ValueError as error:
        line = one_line(error)[:300]
        raise InputError(f"{key}: cannot be built for pictures of {size} x {size} pixels: {line}") from None
    rows, expected = data.rows("train"), (None, size, size) if data.has_masks else (None,)
    classes = 1 + int(np.max(data.targets[rows[:: 1 + len(rows) // SAMPLE]], initial=1))
    *shape, outputs = model.output_shape
    is_binary = classes == 2 and not data.has_masks  # one output, the probability of label 1
    if tuple(shape) != expected or (outputs != 1 if is_binary else outputs < classes):
        found = f"gives {model.output_shape} for pictures of {size} x {size} pixels in {classes} classes"
        allowed = ", ".join(map(str, (*expected, 1 if is_binary else classes)))
        raise InputError(f"{key}: {found}; allowed: ({allowed})")
    moving = [layer.name for layer in model.layers if type(layer).__name__.startswith("Random")]
    if data.has_masks and moving:
        remedy = f"train_{task}.augmentation moves both"
        raise InputError(f"{key}: its layer {moving[0]} changes a picture and not its mask; {remedy}")
    return model
