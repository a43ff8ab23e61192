"""The files of a run folder as other commands read them: plain data whose types are checked. Imports no torch.

A run folder may come from anybody. Nothing in its files is executed, and a value of a wrong type is named by its file
and key before it is used.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclf.config.messages import format_file_error
from medclf.config.schema import DatasetConfig, EvaluationConfig
from medclf.utils.errors import DataError
from medclf.utils.file_digests import file_digest
from medclf.utils.json_yaml import read_json, read_yaml
from medclf.utils.run_folder import Run

DIGESTS = "files_sha256"
"""Entry of run.json: the SHA-256 of the files that a finished run leaves, by name."""
Number = Annotated[float, Field(allow_inf_nan=False)]


class StoredFile(BaseModel):
    """A part of a file: what is listed must have its type, other entries may be there."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class StoredRecord(StoredFile):
    """What run.json holds."""

    status: str
    command: list[str] = []
    versions: dict[str, str] = {}
    findings: list[str] = []
    started: str | None = None
    ended: str | None = None
    python: str | None = None
    platform: str | None = None
    processor: str | None = None
    device: str | None = None
    error: str | None = None
    split_hash: str | None = None
    content_hash: str | None = None
    cores: int | None = None
    training_seconds: Number | None = None
    files_sha256: dict[str, str] = {}


class StoredPoint(StoredFile):
    """The operating point in metrics.json."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rule: str
    threshold: Annotated[float, Field(ge=0, le=1)] | None
    words: str
    gate: str | None = None


class StoredSplit(StoredFile):
    """The metrics of a split in metrics.json; its other entries are metrics by name."""

    __pydantic_extra__: dict[str, Number | None]

    per_class: dict[str, Any] = {}
    interval_95: dict[str, Annotated[list[Number], Field(min_length=2, max_length=2)]] = {}
    interval_method: dict[str, str] = {}
    n_of: dict[str, int] = {}
    not_defined: dict[str, str] = {}


class StoredMetrics(StoredFile):
    """What metrics.json holds, as far as it is read again."""

    positive: str | None = None
    operating_point: StoredPoint | None = None
    checkpoint: str | None = None
    epoch: Annotated[int, Field(ge=0)] | None = None
    monitor: str | None = None
    monitor_value: Number | None = None
    test: StoredSplit | None = None


class StoredModel(StoredFile):
    """Group ``model`` of the config.yaml of an ensemble or a cascade."""

    name: str
    members: list[str] | None = None
    gate: str | None = None


class StoredComposite(StoredFile):
    """The config.yaml of an ensemble or a cascade."""

    monitor: str
    model: StoredModel


class StoredTarget(StoredFile):
    """A node of config.yaml that names a class."""

    target: Annotated[str, Field(alias="_target_")]


class StoredOptimizer(StoredTarget):
    """Group ``optimizer``."""

    lr: Number


class StoredNetwork(StoredModel):
    """Group ``model`` of a training run."""

    weights: str
    frozen: bool
    unfreeze_at: int | None
    backbone: StoredTarget
    head: StoredTarget


class StoredLoss(StoredFile):
    """Group ``loss``."""

    name: str
    class_weights: str | dict[str, Number]
    label_smoothing: Number


class StoredName(StoredFile):
    """Group ``scheduler``."""

    name: str


class StoredAugmentation(StoredName):
    """Group ``augmentation``."""

    mixup: Number
    cutmix: Number


class StoredTrainer(StoredFile):
    """Group ``trainer``."""

    max_epochs: int | None


class StoredConfig(StoredComposite):
    """The config.yaml of a training run, as far as reports show it."""

    seed: int
    model: StoredNetwork
    loss: StoredLoss
    optimizer: StoredOptimizer
    scheduler: StoredName
    augmentation: StoredAugmentation
    trainer: StoredTrainer


class StoredKeys(StoredFile):
    """Keys of a config.yaml by which runs are grouped and compared; all may be missing."""

    seed: int | None = None
    monitor: str | None = None
    model_name: Annotated[str | None, Field(alias="model.name")] = None
    dataset_name: Annotated[str | None, Field(alias="dataset.name")] = None
    positive: Annotated[str | None, Field(alias="dataset.positive")] = None
    split_seed: Annotated[int | None, Field(alias="dataset.splits.seed")] = None
    folds: Annotated[int | None, Field(alias="dataset.splits.folds", ge=2, le=1000)] = None
    fold: Annotated[int | None, Field(alias="dataset.splits.fold", ge=0)] = None
    prevalence: Annotated[float | None, Field(alias="evaluation.prevalence", gt=0, lt=1)] = None


def read_record(run: Run) -> dict[str, Any]:
    """Read run.json.

    Raises:
        DataError: where it is damaged or an entry has a wrong type.
    """
    content = read_json(run.record)
    _check(run.record, content, StoredRecord)
    return content


def read_metrics(run: Run) -> dict[str, Any]:
    """Read metrics.json.

    Raises:
        DataError: where it is damaged, an entry has a wrong type, or it is not the one that the run wrote.
    """
    verify_run_file(run, run.metrics)
    content = read_json(run.metrics)
    _check(run.metrics, content, StoredMetrics)
    return content


def read_config(run: Run) -> dict[str, Any]:
    """Read config.yaml of a run, an ensemble or a cascade.

    Raises:
        DataError: where it is damaged, or an entry is missing or has a wrong type.
    """
    content = read_yaml(run.config)
    model = content.get("model")
    composite = isinstance(model, dict) and model.get("members")
    _check(run.config, content, StoredComposite if composite else StoredConfig)
    for group, schema in (("dataset", DatasetConfig), ("evaluation", EvaluationConfig)):
        _check(run.config, content.get(group), schema, group)
    return content


def validate_keys(path: Path, flat: dict[str, Any]) -> None:
    """Raise DataError if a key by which runs are grouped has a wrong type, in a configuration with dotted keys."""
    _check(path, flat, StoredKeys)


def compute_run_digests(run: Run) -> dict[str, str]:
    """Return the SHA-256 by name of the files of a run, by which one that was changed or swapped is found later."""
    files = (run.predictions, run.splits, run.metrics, run.metrics_table)
    return {file.name: file_digest(file) for file in files if file.is_file()}


def verify_run_file(run: Run, file: Path) -> None:
    """Raise if a file of a run is not the one that the run wrote; runs of older versions have no record of it.

    Raises:
        DataError: naming the file and how to use it nevertheless.
    """
    if not run.record.is_file():
        return
    expected = read_record(run).get(DIGESTS, {}).get(file.name)
    if expected is None:
        return
    if not file.is_file():
        raise DataError(f"{file}: is missing, or not a regular file; copy it again from the run")
    if file_digest(file) != expected:
        alone = (
            f", or evaluate the table on its own: python -m medclf.evaluate predictions={file}"
            if file == run.predictions
            else ""
        )
        raise DataError(
            f"{file}: is not the file that the run wrote ({run.record.name} has another SHA-256); copy it again from "
            f"the run{alone}"
        )


def _check(path: Path, content: Any, schema: type[BaseModel], prefix: str = "") -> None:
    try:
        schema.model_validate(content)
    except ValidationError as error:
        problem = format_file_error(error, schema, prefix)
        raise DataError(f"{path}: {problem}; copy the file again from the run") from error
