"""What must be known to use a trained model: best.json, which lies next to its weights. Imports no torch.

The file is plain data from anywhere: every value is checked, and nothing in it is resolved, imported or built.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medclf import __version__
from medclf.config.component_registry import BACKBONES, HEADS, validate_component
from medclf.config.limits import MAX_CLASSES
from medclf.config.messages import format_file_error
from medclf.config.schema import ImageSpecConfig
from medclf.utils.errors import ConfigError, DataError, format_list
from medclf.utils.file_digests import file_digest
from medclf.utils.json_yaml import read_json
from medclf.utils.run_folder import Run

FORMAT = 2
"""Changes when an older medclf could not use the model correctly. 2: with the SHA-256 of the model's files."""
MAX_MEMBERS = 64

Name = Annotated[str, Field(min_length=1, max_length=200)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Mean = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
StandardDeviation = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]


class ModelFileConfig(BaseModel):
    """A part of best.json: exact types, so that "224" is no number."""

    model_config = ConfigDict(strict=True, frozen=True, protected_namespaces=())


class OperatingPointConfig(ModelFileConfig):
    """How the class is decided; ``gate`` is the class that the threshold holds back, of two the negative one."""

    rule: Name
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None
    words: Annotated[str, Field(max_length=2000)]
    gate: Name | None = None


class NetworkConfig(ModelFileConfig):
    """The parts of a network: class and arguments of each, as ``medclf.config.component_registry`` builds them."""

    name: Name
    backbone: dict[str, Any]
    head: dict[str, Any]


class PreprocessingConfig(ImageSpecConfig):
    """The form of the images, and mean and standard deviation of each channel for pixels of 0 to 1."""

    mean: list[Mean]
    sd: list[StandardDeviation]

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> "PreprocessingConfig":
        if not len(self.mean) == len(self.sd) == self.channels:
            raise ValueError(f"{len(self.mean)} means and {len(self.sd)} sds for {self.channels} channels")
        return self


class ModelMetadata(ModelFileConfig):
    """What ``best.json`` holds. One network, an ``ensemble`` of ``members`` or a ``cascade`` of two of them.

    ``members`` are paths of their best.json below this one. Logits divided by ``temperature`` give calibrated
    probabilities; ``positive`` is the class that sensitivity is about, of two. ``sha256`` has the digest of each file
    that belongs to the model: ``best.pth``, ``novelty.npz`` and each member.
    """

    format: Annotated[int, Field(ge=0)] = 0
    kind: Literal["network", "ensemble", "cascade"] = "network"
    classes: Annotated[list[Name], Field(min_length=2, max_length=MAX_CLASSES)]
    positive: Name | None
    operating_point: OperatingPointConfig
    temperature: Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)]
    dataset: Annotated[str, Field(max_length=200)]
    model: NetworkConfig | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"
    preprocessing: PreprocessingConfig | None = None
    precision: Literal["float32", "mixed"] | None = None
    members: Annotated[list[Name], Field(max_length=MAX_MEMBERS)] = []
    sha256: dict[str, Digest] = {}

    @property
    def gate(self) -> str | None:
        """Return the class that the threshold holds back."""
        if self.operating_point.gate is not None or self.positive is None:
            return self.operating_point.gate
        return next(name for name in self.classes if name != self.positive)

    @model_validator(mode="after")
    def _consistent(self) -> "ModelMetadata":
        """Raise for parts that contradict each other."""
        wrong = {
            f"classes: a name occurs twice in {format_list(self.classes, 5)}": len(set(self.classes))
            < len(self.classes),
            f"positive={self.positive}: is not a class": self.positive not in (None, *self.classes),
            "positive: a model of more than two classes has none": self.positive is not None and len(self.classes) > 2,
            f"operating_point.gate={self.operating_point.gate}: is not a class": (
                self.operating_point.gate not in (None, *self.classes)
            ),
            "activation=sigmoid: needs exactly two classes": self.activation == "sigmoid" and len(self.classes) != 2,
            "members: a network has none": self.kind == "network" and bool(self.members),
            "members: an ensemble needs at least one": self.kind == "ensemble" and not self.members,
            "members: a cascade has two": self.kind == "cascade" and len(self.members) != 2,
        }
        for message, holds in wrong.items():
            if holds:
                raise ValueError(message)
        return self


def find_model_file(run: str | None, model: str | None) -> Path:
    """Return the ``best.json`` that is meant by ``run=RUN`` or ``model=best.pth``.

    Raises:
        ConfigError: when neither or both are given, or it does not exist: with what does.
        DataError: for a run whose ``best.json`` is not the one that it wrote.
    """
    if (run is None) == (model is None):
        raise ConfigError("name one model: run=RUN (a run folder) or model=FILE (its best.pth)")
    if run is not None:
        return _of_run(Run(Path(run)))
    path = Path(str(model))
    if path.is_dir():
        raise ConfigError(f"model={model}: is a folder; a run folder is named by run={model}")
    if not path.is_file():
        raise ConfigError(f"model={model}: no such file")
    if path.suffix not in (".pth", ".json"):
        raise ConfigError(f"model={model}: is not a best.pth; a checkpoint of training is used by run=RUN")
    facts = path.with_suffix(".json")
    if not facts.is_file():
        raise ConfigError(f"model={model}: {facts.name} must lie next to it, since it describes how to use the weights")
    return facts


def _of_run(run: Run) -> Path:
    if not run.folder.is_dir():
        raise ConfigError(f"run={run.folder}: there is no such folder")
    facts = run.best_facts
    if run.status is None:
        raise ConfigError(f"run={run.folder}: is not a run folder (run.json is missing)")
    recorded = read_json(run.record).get("best_json_sha256")
    if not facts.is_file() or (recorded is None and run.status != "finished"):
        if run.status != "finished":
            raise ConfigError(
                f"run={run.folder}: has not finished ({run.status}) and has no model; to finish it: "
                f"python -m medclf.train resume={run.folder}"
            )
        raise ConfigError(f"run={run.folder}: has no model: checkpoints/{facts.name} is missing")
    if recorded != file_digest(facts):
        raise DataError(
            f"{facts}: is not the file that the run wrote ({run.record.name} has another SHA-256); copy the run again, "
            f"or use the file as it is: model={facts}"
        )
    return facts


def read_metadata(path: Path) -> ModelMetadata:
    """Read and check a ``best.json``.

    Raises:
        DataError: for one that is damaged, tampered with, or of another format.
    """
    content = read_json(path, allow_nan=True)  # so that a temperature of NaN is named by its key
    _check_format(path, content)
    try:
        return ModelMetadata.model_validate(content, strict=True)
    except ValidationError as error:
        raise DataError(f"{path}: {format_file_error(error, ModelMetadata)}; it does not describe a model") from error


def _check_format(path: Path, content: dict[str, Any]) -> None:
    version, written = content.get("format", 0), content.get("versions")
    if not isinstance(version, int) or version == FORMAT or "classes" not in content:
        return
    by = str(written.get("medclf", "another release"))[:50] if isinstance(written, dict) else "another release"
    remedy = "install a newer one" if version > FORMAT else "train the model again"
    raise DataError(
        f"{path}: the model is of format {version}, written by medclf {by}; this is medclf {__version__}, which reads "
        f"format {FORMAT}; {remedy}"
    )


def get_network_config(path: Path, facts: ModelMetadata, trust_code: bool) -> tuple[NetworkConfig, PreprocessingConfig]:
    """Return the parts of a model that is one network, and the form of its images.

    Args:
        path: of its ``best.json``.
        facts: read from it.
        trust_code: whether code of the user's own may be imported and run.

    Raises:
        DataError: where they are missing, or arguments are wrong.
        ConfigError: for code that is not ours and not trusted.
    """
    if facts.model is None or facts.preprocessing is None:
        raise DataError(f"{path}: does not say how its network is built, or what images it takes")
    try:
        validate_component("model.backbone", facts.model.backbone, BACKBONES, trust_code)
        validate_component("model.head", facts.model.head, HEADS, trust_code)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return facts.model, facts.preprocessing


def is_builtin(parts: NetworkConfig) -> bool:
    """Return whether a network is built of medclf's own parts alone, and of no code of the user's."""
    return parts.backbone["_target_"] in BACKBONES and parts.head["_target_"] in HEADS
