"""params.yaml as frozen, validated models: one class per stage, one line for each thing that is wrong."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import InputError

PARAMS_FILE = Path("params.yaml")
ARCHITECTURES = Path(__file__).with_name("models")  # a folder per task, a file per architecture


def _number(value: Any) -> Any:
    """PyYAML reads 1e-3 as a string (YAML 1.1), DVC as a float (YAML 1.2) and `dvc exp run -S` writes it so."""
    is_exponent = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value)
    return float(value) if is_exponent else value


Number = Annotated[float, BeforeValidator(_number)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
ImageSize = Annotated[int, Field(ge=16, le=1024)]


def _architecture_of(task: str) -> Any:
    """The name of a file in pipeline/models/TASK/, which has the architecture."""

    def check(name: str) -> str:
        known = sorted(path.stem for path in (ARCHITECTURES / task).glob("[!_]*.py"))
        if name not in known:
            raise ValueError(f"{name!r}: should be one of {', '.join(known)} (the files in pipeline/models/{task}/)")
        return name

    return Annotated[str, AfterValidator(check)]


class _Loader(yaml.SafeLoader):
    """YAML forbids a key twice; PyYAML takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        # Before the merge of `<<`, which puts what is merged among the node's own keys.
        keys = [pair[0] for pair in node.value] if isinstance(node, yaml.MappingNode) else []
        mapping = super().construct_mapping(node, deep)
        for place, key in enumerate(keys):
            if key.value in [earlier.value for earlier in keys[:place]]:
                problem = f"the key {key.value} is defined twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return mapping


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
    validation_fraction: Annotated[Number, Field(gt=0, lt=1)]
    max_reject_fraction: Annotated[Number, Field(ge=0, le=1)]
    seed: Seed


class Train(Section):
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    learning_rate: Annotated[Number, Field(gt=0, le=1)]
    augmentation: Literal["none", "chapter"]
    precision: Literal["mixed", "float32"]
    jit_compile: bool
    replicas: Annotated[int, Field(ge=1, le=64)]
    seed: Seed

    @model_validator(mode="after")
    def _replicas_share_batches_evenly(self) -> "Train":
        if self.batch_size % self.replicas:
            raise ValueError(f"batch_size: {self.batch_size}: should be a multiple of replicas, {self.replicas}")
        return self


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


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check every section, so that a typo in a late stage ends the first one, before any work.

    Raises InputError with one line that names the file, the key, the value and what is allowed.
    """
    try:
        return Params.model_validate(yaml.load(path.read_text(encoding="utf-8"), _Loader))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror} (in {Path.cwd()})") from None
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(_explain(e) for e in error.errors())}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that is none
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def _explain(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        section = Params
        for part in error["loc"][:-1]:
            section = section.model_fields[part].annotation
        return f"{key}: unknown key, found {error['input']!r}; allowed: {', '.join(section.model_fields)}"
    if error["type"] == "model_type":
        return f"{key or 'the file'}: {error['input']!r}: should be a section of keys"
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "value_error":
        separator = ": " if error["loc"] and len(error["loc"]) > 1 else "."
        return separator.join(filter(None, (key, str(error["ctx"]["error"]))))
    return f"{key}: {error['input']!r}: {error['msg'].replace('Input should', 'should')}"
