"""params.yaml as frozen, validated models: one class per stage, one line for each thing that is wrong."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML, YAMLError

from pipeline.errors import InputError, one_line

PARAMS_FILE = Path("params.yaml")
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
ImageSize = Annotated[int, Field(ge=16, le=1024)]


def _architecture_of(task: str) -> Any:
    """Return the type of a name of a file in pipeline/models/TASK/."""
    files = Path(__file__).with_name("models").joinpath(task).glob("[!_]*.py")
    return Literal[tuple(sorted(path.stem for path in files))]


class Section(BaseModel):
    """A frozen group of parameters: unknown keys, missing keys, wrong types, nan and inf are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Download(Section):
    dataset: Literal["official", "embedded"]
    images_sha256: Sha256
    annotations_sha256: Sha256


class Preprocess(Section):
    segmenter_size: Annotated[int, Field(ge=16, le=1024, multiple_of=8)]  # three halvings, three doublings
    classifier_size: ImageSize
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    max_reject_fraction: Annotated[float, Field(ge=0, le=1)]
    seed: Seed


class Train(Section):
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    augmentation: Literal["none", "chapter"]
    precision: Literal["mixed", "float32"]
    jit_compile: bool
    replicas: Annotated[int, Field(ge=1, le=64)]
    seed: Seed

    @field_validator("replicas")
    @classmethod
    def _share_batches_evenly(cls, replicas: int, others: ValidationInfo) -> int:
        if (batch_size := others.data.get("batch_size", replicas)) % replicas:
            raise ValueError(f"should divide batch_size, {batch_size}")
        return replicas


class TrainSegmenter(Train):
    architecture: _architecture_of("segmenter")


class TrainClassifier(Train):
    architecture: _architecture_of("classifier")


class Evaluate(Section):
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)]
    grid_pictures: Annotated[int, Field(ge=1, le=100)]
    seed: Seed


class Plot(Section):
    overfit_after: Annotated[int, Field(ge=1, le=1000)]


class Params(Section):
    """The whole of params.yaml."""

    download: Download
    preprocess: Preprocess
    train_segmenter: TrainSegmenter
    train_classifier: TrainClassifier
    evaluate_segmenter: Evaluate
    evaluate_classifier: Evaluate
    plot: Plot


def read_yaml(path: str | Path, data: bytes) -> Any:
    """Parse YAML as DVC does: 1e-05 is a number, a key that is defined twice an error.

    path: what an error names. Raises InputError.
    """
    try:
        return YAML(typ="safe").load(data)
    except (YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise InputError(f"{path}: not YAML: {one_line(error).partition(' To suppress')[0]}") from None


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check every section, so that a typo in a late stage ends the first one, before any work.

    Raises InputError with one line that names the file, the key, the value and what is allowed.
    """
    try:
        return Params.model_validate(read_yaml(path, path.read_bytes()))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror} (in {Path.cwd()})") from None
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(_explain(e) for e in error.errors())}") from None


def _explain(error: dict[str, Any]) -> str:
    section, *_ = names = [str(part) for part in error["loc"]] or [""]
    key = ".".join(names) or "the file"
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "model_type":
        return f"{key}: {error['input']!r}: should be a section of keys"
    if error["type"] == "extra_forbidden":
        known = Params if len(names) == 1 else Params.model_fields[section].annotation
        return f"{key}: unknown key, found {error['input']!r}; allowed: {', '.join(known.model_fields)}"
    return f"{key}: {error['input']!r}: {error['msg'].removeprefix('Value error, ').replace('Input should', 'should')}"
