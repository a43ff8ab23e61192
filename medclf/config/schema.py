"""What a composed configuration must look like. Types, ranges and unknown keys are checked here, all in one message."""

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from medclf.config import limits
from medclf.config.field_types import (
    ClassName,
    ClassWeights,
    Folders,
    Fraction,
    Monitor,
    Name,
    PathText,
    Seed,
    Share,
    Target,
    Text,
    not_boolean,
)
from medclf.config.messages import format_validation_errors
from medclf.config.trainer_schema import TrainerConfig
from medclf.utils.errors import ConfigError
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS, HIGHEST_MAX_MEGAPIXELS

SplitName = Literal["train", "val", "test"]


TestTime = Literal["none", "flip"]
"""Test-time augmentation: none, or the mean over an image and its mirror image."""


class StrictModel(BaseModel):
    """A part of the configuration: no unknown keys, finite numbers, no change after checking."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        str_max_length=limits.MAX_TEXT,
        protected_namespaces=(),
    )


class TypedModel(StrictModel):
    """A part of a configuration that Hydra composes: exact types; a number is a name where one is due (``Text``)."""

    model_config = ConfigDict(strict=True)


class SplitsConfig(TypedModel):
    """How images come to train, val and test.

    ``folders`` maps a folder's name to the part it holds; ``val`` and ``test`` are shares of the images that are cut
    where no folder gives the part. With ``folds``, ``fold`` is the test split. ``file`` is a splits.csv to read
    instead.
    """

    folders: Annotated[dict[Text, SplitName], Field(max_length=limits.MAX_ENTRIES)]
    val: Fraction
    test: Fraction
    seed: Seed
    folds: Annotated[int, Field(ge=2, le=limits.MAX_FOLDS)] | None
    fold: Annotated[int, Field(ge=0, lt=limits.MAX_FOLDS)]
    file: PathText | None


class PhantomConfig(TypedModel):
    """Counts of images (half of each class), side in pixels, and seed of the phantom."""

    train: Annotated[int, Field(ge=8, le=limits.MAX_PHANTOM_IMAGES)]
    validation: Annotated[int, Field(ge=4, le=limits.MAX_PHANTOM_IMAGES)]
    size: Annotated[int, Field(ge=32, le=limits.MAX_PHANTOM_SIZE)]
    seed: Seed


class TableConfig(TypedModel):
    """A CSV file below root, and the names of its columns; ``group`` and ``split`` where it has them."""

    file: PathText
    path: Text
    label: Text
    group: Text | None
    split: Text | None


class DuplicatesConfig(TypedModel):
    """``near``: bits out of 256 by which perceptual hashes of one picture may differ; None: only equal files count."""

    near: Annotated[int, Field(ge=0, le=64)] | None
    on_conflict: Literal["drop", "error", "keep"]


class ClaheConfig(TypedModel):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994): clip limit, and tiles along a side."""

    clip_limit: Annotated[float, Field(gt=0, le=limits.MAX_CLIP_LIMIT)]
    tiles: Annotated[int, Field(ge=1, le=limits.MAX_TILES)]


class ImageSpecConfig(TypedModel):
    """In what form a network sees an image."""

    image_size: Annotated[int, Field(ge=limits.MIN_IMAGE_SIZE, le=limits.MAX_IMAGE_SIZE)]
    channels: Annotated[Literal[1, 3], BeforeValidator(not_boolean)]
    resize: Literal["squash", "letterbox", "crop"]
    clahe: ClaheConfig | None


class DatasetConfig(ImageSpecConfig):
    """Where the images are, what their classes are, and in what form the network sees them."""

    name: Name
    root: PathText
    source: Text | None
    layout: Text | None
    kaggle: Text | None
    format: Literal["folders", "table", "medmnist"]
    archive: PathText | None
    table: TableConfig
    expected: Annotated[dict[ClassName, Annotated[int, Field(ge=0)]], Field(max_length=limits.MAX_CLASSES)] | None
    classes: Annotated[list[ClassName], Field(min_length=2, max_length=limits.MAX_CLASSES)] | None
    class_folders: Annotated[dict[ClassName, Folders], Field(max_length=limits.MAX_CLASSES)] | None
    positive: Text | None
    exclude: Annotated[list[Text], Field(max_length=limits.MAX_ENTRIES)]
    group_pattern: Annotated[Text, Field(max_length=limits.MAX_PATTERN)] | None
    duplicates: DuplicatesConfig
    on_unreadable: Literal["error", "drop"]
    # a default, so that runs of earlier releases still resume
    max_megapixels: Annotated[float, Field(gt=0, le=HIGHEST_MAX_MEGAPIXELS)] = DEFAULT_MAX_MEGAPIXELS
    splits: SplitsConfig
    store: PathText
    normalization: Literal["imagenet", "dataset"]
    batch_size: Annotated[int, Field(ge=1, le=limits.MAX_BATCH_SIZE)]
    balanced_sampling: bool
    num_workers: Annotated[int, Field(ge=0, le=limits.MAX_WORKERS)] | None
    phantom: PhantomConfig | None


class ModelConfig(TypedModel):
    """A backbone and a head; ``weights`` is none, default or a path.

    A backbone that is ``frozen``, or that has an epoch ``unfreeze_at``, keeps its weights (until then).
    ``backbone_lr_scale`` is its learning rate as a multiple of the head's. ``feature_views`` of each training image are
    drawn once, and a frozen backbone sees no others; None: every outcome, where they are few; 0: each is drawn anew.
    """

    name: Name
    backbone: Target
    head: Target
    activation: Literal["softmax", "sigmoid"]
    weights: PathText
    frozen: bool
    unfreeze_at: Annotated[int, Field(ge=1, le=limits.MAX_STEPS)] | None
    backbone_lr_scale: Annotated[float, Field(gt=0)] | None
    feature_views: Annotated[int, Field(ge=0, le=limits.MAX_VIEWS)] | None
    compile: bool


class AugmentationConfig(TypedModel):
    """Random transforms of a training image, in order; alphas of mixup and CutMix, which mix images of a batch."""

    name: Name
    transforms: Annotated[list[Target], Field(max_length=limits.MAX_TRANSFORMS)]
    mixup: Annotated[float, Field(ge=0)]
    cutmix: Annotated[float, Field(ge=0)]


class LossConfig(TypedModel):
    """A kind of cross-entropy. ``class_weights`` by name leave those not named at 1; ``gamma`` is focal loss's."""

    name: Literal["cross_entropy", "binary_cross_entropy", "focal"]
    class_weights: ClassWeights
    label_smoothing: Share
    gamma: Annotated[float, Field(ge=0)] = 0.0


class SchedulerConfig(TypedModel):
    """A schedule of the learning rate; cosine and one_cycle have ``warmup``, plateau ``factor`` and ``patience``."""

    name: Literal["none", "cosine", "one_cycle", "plateau"]
    warmup: Share = 0.0
    factor: Fraction = 0.1
    patience: Annotated[int, Field(ge=0, le=limits.MAX_STEPS)] = 3


class TunerConfig(TypedModel):
    """What Lightning's Tuner finds before training; ``max_batch_size`` is where the search for the largest ends."""

    lr: bool
    batch_size: bool
    max_batch_size: Annotated[int, Field(ge=2, le=limits.MAX_BATCH_SIZE)]


class OptimizerConfig(BaseModel):
    """``_target_`` and the arguments of a torch optimizer. Every optimizer has a learning rate."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    target: Annotated[Text, Field(alias="_target_")]
    lr: Annotated[float, Field(gt=0)]


class EvaluationConfig(TypedModel):
    """How predictions are judged; ``conf/evaluation/default.yaml`` tells what each key is."""

    operating_point: Literal["half", "youden", "sensitivity", "specificity", "cost"]
    target: Fraction
    cost: Annotated[float, Field(gt=0)]
    prevalence: Fraction | None
    resamples: Annotated[int, Field(ge=100, le=limits.MAX_RESAMPLES)]
    seed: Seed
    subgroups: Annotated[list[Text], Field(max_length=limits.MAX_ENTRIES)] | None
    plots: bool
    gallery: Annotated[int, Field(ge=0, le=limits.MAX_GALLERY)]
    grad_cam: Annotated[int, Field(ge=0, le=limits.MAX_GRAD_CAM)]


class SweepConfig(TypedModel):
    """How a sweep goes: ``fail_fast`` ends it at the first job that breaks."""

    fail_fast: bool


class TrainConfig(TypedModel):
    """The whole configuration of a training run."""

    seed: Seed
    monitor: Monitor
    trust_code: bool
    resume: PathText | None
    resume_from: Literal["last", "previous"]
    dataset: DatasetConfig
    augmentation: AugmentationConfig
    model: ModelConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    tune: TunerConfig
    callbacks: Annotated[dict[Text, Target], Field(max_length=limits.MAX_CALLBACKS)]
    logger: Annotated[dict[Text, Target], Field(min_length=1, max_length=limits.MAX_CALLBACKS)]
    trainer: TrainerConfig
    evaluation: EvaluationConfig
    sweep: SweepConfig


NOT_OF_A_RUN = ("hydra", "search_space")
"""Keys of a composed configuration that are about the command or a search, not about a run."""
Checked = TypeVar("Checked", bound=StrictModel)


def validate_config(node: DictConfig, kind: type[Checked]) -> Checked:
    """Return the checked configuration of a command.

    Raises:
        ConfigError: with every key that is unknown, missing, of the wrong type or out of range.
    """
    return validate_content(to_plain_data(node), kind)


def to_plain_data(node: DictConfig, without: Collection[str] = NOT_OF_A_RUN) -> dict[str, Any]:
    """Return a composed configuration as plain data, its expressions resolved.

    Args:
        node: composed by Hydra.
        without: keys of the first level to leave out.

    Raises:
        ConfigError: for a key without a value, and an expression that cannot be resolved.
    """
    try:
        task = OmegaConf.masked_copy(node, [str(key) for key in node if key not in without])
        content: Any = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: has no value; set it: {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_reason(error)}") from error
    except RecursionError as error:
        raise ConfigError("the configuration is nested too deeply") from error
    return content  # type: ignore[no-any-return]


def validate_content(content: Any, kind: type[Checked]) -> Checked:
    """Return the checked configuration of a command, given as plain data.

    Raises:
        ConfigError: as ``validated``.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(format_validation_errors(error, kind)) from error


def _reason(error: OmegaConfBaseException) -> str:
    """What is wrong with an expression, without the names of Python's exceptions."""
    text = str(error).splitlines()[0]
    reason = re.sub(r"^\w+(Error|Exception) raised while resolving interpolation: ", "", text).strip('"')
    return f"its expression cannot be resolved: {reason}"
