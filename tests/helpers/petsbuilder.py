"""Tiny pictures, trimaps, archives and a dataset of solid pictures whose colour tells which one it is, made by hand."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.project import write_params

IDS = {"Abyssinian": "1 1 1", "american_bulldog": "2 2 1"}  # the last three columns of the lists
CATS = [f"Abyssinian_{number}" for number in range(1, 11)]
DOGS = [f"american_bulldog_{number}" for number in range(1, 11)]
TRAINVAL, TEST = CATS + DOGS, ["Abyssinian_101", "american_bulldog_101", "american_bulldog_102"]


def encode(picture: Image.Image, file_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format)
    return file.getvalue()


def trimap(rows: list[list[int]]) -> bytes:
    return encode(Image.fromarray(np.array(rows, np.uint8)))


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w:gz") -> Path:
    """A tar archive; a name that ends in / is a directory."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(content))
    return path


def colour(stem: str) -> tuple[int, int, int]:
    breed, number = stem.rsplit("_", 1)
    return int(number), len(breed), 200


def picture(stem: str) -> bytes:
    return encode(Image.new("RGB", (4, 3), colour(stem)))


def mask_class(stem: str) -> int:
    return int(stem.rsplit("_", 1)[1]) % 3


def write_dataset(trainval=TRAINVAL, test=TEST, pictures=None, trimaps=None, order=1, **params) -> None:
    """Both archives, dvc.yaml, params.yaml. `pictures`, `trimaps` replace a stem's file, or leave it out where None."""
    stems = sorted({*trainval, *test})[::order]
    pictures = {stem: picture(stem) for stem in stems} | (pictures or {})
    trimaps = {stem: trimap([[1 + mask_class(stem)] * 4] * 3) for stem in stems} | (trimaps or {})
    lists = {
        f"annotations/{name}.txt": "".join(f"{stem} {IDS[stem.rsplit('_', 1)[0]]}\n" for stem in part).encode()
        for name, part in (("trainval", trainval), ("test", test))
    }
    masks = {f"annotations/trimaps/{stem}.png": data for stem, data in trimaps.items() if data is not None}
    images = {f"images/{stem}.jpg": data for stem, data in pictures.items() if data is not None}
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    write_tar(Path("data/raw/annotations.tar.gz"), (lists | masks).items())
    write_tar(Path("data/raw/images.tar.gz"), images.items())
    sizes = {"segmenter_size": 16, "classifier_size": 24, "validation_fraction": 0.2, "max_reject_fraction": 0.0}
    write_params(Path(), preprocess=sizes | {"seed": 7} | params)
