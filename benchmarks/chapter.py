"""The chapter's way, as its notebooks have it: what users would run instead. The other side of the benchmarks.

Every picture is read with Keras' `load_img` into one float32 array; `fit` takes that array, in float32, and a
`ModelCheckpoint` writes the best epoch. Architecture, data, batch size, epochs and optimizer are those of params.yaml.
So the segmenter is in the chapter; its cats and dogs come from a folder, batch by batch, which takes longer.
Source: F. Chollet, Deep Learning with Python, 2nd edition, chapter 9.
"""

import tarfile
import time
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipeline.data.augment import ROTATION, ZOOM
from pipeline.params import Train, load_params
from pipeline.paths import PREPARED, RAW

LOSS = {"segmenter": "sparse_categorical_crossentropy", "classifier": "binary_crossentropy"}


def unpack(folder: Path) -> None:
    """Unpack the two archives there, as the chapter has its reader do."""
    for name in ("images", "annotations"):
        with tarfile.open(RAW / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")


def load_pictures(folder: Path, stems: list[str], size: int) -> np.ndarray:
    """float32 (pictures, size, size, 3), 0 to 255."""
    images = np.zeros((len(stems), size, size, 3), "float32")
    for k, stem in enumerate(stems):
        path = folder / f"images/{stem}.jpg"
        images[k] = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size)))
    return images


def load_masks(folder: Path, stems: list[str], size: int) -> np.ndarray:
    """uint8 (pictures, size, size) of classes 0, 1, 2."""
    masks = np.zeros((len(stems), size, size), "uint8")
    for k, stem in enumerate(stems):
        path = folder / f"annotations/trimaps/{stem}.png"
        image = keras.utils.load_img(path, target_size=(size, size), color_mode="grayscale")
        masks[k] = keras.utils.img_to_array(image, dtype="uint8")[..., 0] - 1
    return masks


def load_split(task: str, folder: Path, samples: pd.DataFrame, split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and targets of a split, from the unpacked archives."""
    rows = samples[samples["split"] == split]
    stems = list(rows["stem"])
    targets = load_masks(folder, stems, size) if task == "segmenter" else (rows["species"] == "dog").to_numpy("uint8")
    return load_pictures(folder, stems, size), targets


def compiled(task: str, params: Train, size: int) -> keras.Model:
    """Compile the model as the chapter does, which has augmentation as layers before it."""
    keras.utils.set_random_seed(params.seed)
    model = import_module(f"pipeline.models.{task}.{params.architecture}").build(size)
    if params.augmentation == "chapter":
        layers = keras.layers
        augmentation = [layers.RandomFlip("horizontal"), layers.RandomRotation(ROTATION), layers.RandomZoom(ZOOM)]
        model = keras.Sequential([keras.Input((size, size, 3)), *augmentation, model])
    model.compile(keras.optimizers.RMSprop(params.learning_rate), LOSS[task], metrics=["accuracy"])
    return model


def notebook(task: str, unpacked: str) -> float:
    """The whole notebook with an epoch, in the folder of a pipeline: the seconds of predicting the test split."""
    params, samples = load_params(), pd.read_csv(PREPARED / task / "samples.csv")
    training, size = getattr(params, f"train_{task}"), getattr(params.preprocess, f"{task}_size")
    train, validation, test = (
        load_split(task, Path(unpacked), samples, split, size) for split in ("train", "validation", "test")
    )
    model = compiled(task, training, size)
    model.fit(*train, batch_size=training.batch_size, validation_data=validation, verbose=0)
    started = time.perf_counter()
    model.predict(test[0], verbose=0)
    return time.perf_counter() - started
