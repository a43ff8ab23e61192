"""What a composed configuration must look like. Types, ranges and unknown keys are checked here, all in one message."""

from typing import Annotated, Any, Literal, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from medclf.errors import ConfigError, did_you_mean

SplitName = Literal["train", "val", "test"]


def _has_target(node: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(node.get("_target_"), str):
        raise ValueError("needs a _target_: the import path of the class to build, e.g. torch.optim.Adam")
    return node


Target = Annotated[dict[str, Any], AfterValidator(_has_target)]
"""A node that Hydra instantiates: ``_target_`` and the arguments of what it names."""


def _class_weights(value: Any) -> Any:
    numbers = isinstance(value, dict) and all(isinstance(item, int | float) and item > 0 for item in value.values())
    if value not in ("none", "auto") and not numbers:
        raise ValueError("is none, auto, or a weight above 0 by the class's name: {malignant: 2.0}")
    return value


ClassWeights = Annotated[Any, AfterValidator(_class_weights)]
"""``none``, ``auto``, or a weight above 0 for some of the classes."""

Precision = Literal[
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", 32, 16, 64, "32", "16", "64", "bf16"
]  # fmt: skip

TestTime = Literal["none", "flip"]
"""Test-time augmentation: none, or the mean over an image and its mirror image."""

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Strict(BaseModel):
    """A part of the configuration: no unknown keys, no change after checking. A number is a name where one is due."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Splits(Strict):
    """How images come to train, val and test.

    ``folders`` maps a folder's name to the part it holds; ``val`` and ``test`` are shares of the images that are cut
    where no folder gives the part. With ``folds``, ``fold`` is the test split. ``file`` is a splits.csv to read
    instead.
    """

    folders: dict[str, SplitName]
    val: Fraction
    test: Fraction
    seed: Annotated[int, Field(ge=0)]
    folds: Annotated[int, Field(ge=2)] | None
    fold: Annotated[int, Field(ge=0)]
    file: str | None


class Phantom(Strict):
    """Counts of images (half of each class), side in pixels, and seed of the phantom."""

    train: Annotated[int, Field(ge=8)]
    validation: Annotated[int, Field(ge=4)]
    size: Annotated[int, Field(ge=32)]
    seed: Annotated[int, Field(ge=0)]


class Table(Strict):
    """A CSV file below root, and the names of its columns; ``group`` and ``split`` where it has them."""

    file: str
    path: str
    label: str
    group: str | None
    split: str | None


class Duplicates(Strict):
    """``near``: bits out of 256 by which perceptual hashes of one picture may differ; None: only equal files count."""

    near: Annotated[int, Field(ge=0, le=64)] | None
    on_conflict: Literal["drop", "error", "keep"]


class Clahe(Strict):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994): clip limit, and tiles along a side."""

    clip_limit: Annotated[float, Field(gt=0)]
    tiles: Annotated[int, Field(ge=1)]


class Form(Strict):
    """In what form a network sees an image."""

    image_size: Annotated[int, Field(ge=16)]
    channels: Literal[1, 3]
    resize: Literal["squash", "letterbox", "crop"]
    clahe: Clahe | None


class Dataset(Form):
    """Where the images are, what their classes are, and in what form the network sees them."""

    name: str
    root: str
    source: str | None
    layout: str | None
    kaggle: str | None
    format: Literal["folders", "table", "medmnist"]
    archive: str | None
    table: Table
    expected: dict[str, int] | None
    classes: Annotated[list[str], Field(min_length=2)] | None
    class_folders: dict[str, str | list[str]] | None
    positive: str | None
    exclude: list[str]
    group_pattern: str | None
    duplicates: Duplicates
    on_unreadable: Literal["error", "drop"]
    splits: Splits
    store: str
    normalization: Literal["imagenet", "dataset"]
    batch_size: Annotated[int, Field(ge=1)]
    balanced_sampling: bool
    num_workers: Annotated[int, Field(ge=0)] | None
    phantom: Phantom | None


class Model(Strict):
    """A backbone and a head; ``weights`` is none, default or a path.

    A backbone that is ``frozen``, or that has an epoch ``unfreeze_at``, keeps its weights (until then).
    ``backbone_lr_scale`` is its learning rate as a multiple of the head's. ``feature_views`` of each training image are
    drawn once, and a frozen backbone sees no others; None: every outcome, where they are few; 0: each is drawn anew.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: str
    backbone: Target
    head: Target
    output: Literal["softmax", "sigmoid"]
    weights: str
    frozen: bool
    unfreeze_at: Annotated[int, Field(ge=1)] | None
    backbone_lr_scale: Annotated[float, Field(gt=0)] | None
    feature_views: Annotated[int, Field(ge=0)] | None
    compile: bool


class Augmentation(Strict):
    """Random transforms of a training image, in order; alphas of mixup and CutMix, which mix images of a batch."""

    name: str
    transforms: list[Target]
    mixup: Annotated[float, Field(ge=0)]
    cutmix: Annotated[float, Field(ge=0)]


class Loss(Strict):
    """A kind of cross-entropy. ``class_weights`` by name leave those not named at 1; ``gamma`` is focal loss's."""

    name: Literal["cross_entropy", "binary_cross_entropy", "focal"]
    class_weights: ClassWeights
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    gamma: Annotated[float, Field(ge=0)] = 0.0


class Scheduler(Strict):
    """A schedule of the learning rate; cosine and one_cycle have ``warmup``, plateau ``factor`` and ``patience``."""

    name: Literal["none", "cosine", "one_cycle", "plateau"]
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    factor: Fraction = 0.1
    patience: Annotated[int, Field(ge=0)] = 3


class Tune(Strict):
    """What Lightning's Tuner finds before training; ``max_batch_size`` is where the search for the largest ends."""

    lr: bool
    batch_size: bool
    max_batch_size: Annotated[int, Field(ge=2)]


class Trainer(BaseModel):
    """The arguments of lightning.Trainer; those that are often changed are checked here, the others by Lightning."""

    model_config = ConfigDict(extra="allow", frozen=True)

    accelerator: Accelerator
    precision: Precision | None
    max_epochs: Annotated[int, Field(ge=-1)] | None
    min_epochs: Annotated[int, Field(ge=0)] | None
    accumulate_grad_batches: Annotated[int, Field(ge=1)]
    gradient_clip_val: Annotated[float, Field(ge=0)] | None
    fast_dev_run: bool | int


class Optimizer(BaseModel):
    """``_target_`` and the arguments of a torch optimizer, of which all have a learning rate."""

    model_config = ConfigDict(extra="allow", frozen=True)

    target: Annotated[str, Field(alias="_target_")]
    lr: Annotated[float, Field(gt=0)]


class Evaluation(Strict):
    """How predictions are judged; ``conf/evaluation/default.yaml`` tells what each key is."""

    operating_point: Literal["half", "youden", "sensitivity", "specificity", "cost"]
    target: Fraction
    cost: Annotated[float, Field(gt=0)]
    prevalence: Fraction | None
    resamples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    subgroups: list[str] | None
    pictures: bool
    # a page of more is a picture that nothing can open
    gallery: Annotated[int, Field(ge=0, le=600)]
    grad_cam: Annotated[int, Field(ge=0, le=300)]


class Sweep(Strict):
    """How a sweep goes: ``fail_fast`` ends it at the first job that breaks."""

    fail_fast: bool


class Config(Strict):
    """The whole configuration of a training run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    monitor: str
    trust_code: bool
    resume: str | None
    resume_from: Literal["last", "previous"]
    dataset: Dataset
    augmentation: Augmentation
    model: Model
    loss: Loss
    optimizer: Optimizer
    scheduler: Scheduler
    tune: Tune
    callbacks: dict[str, Target]
    logger: Target
    trainer: Trainer
    evaluation: Evaluation
    sweep: Sweep


class AuditConfig(Strict):
    """The whole configuration of ``python -m medclf.audit``."""

    dataset: Dataset


class PrepareConfig(Strict):
    """The whole configuration of ``python -m medclf.prepare``; ``export`` is a folder for the prepared images."""

    dataset: Dataset
    download: bool
    export: str | None


class EvaluateConfig(Strict):
    """The whole configuration of ``python -m medclf.evaluate``: a ``run`` or a table of ``predictions``.

    With ``dataset`` the run's model is tested on its images; ``class_map`` gives the model's name of a class there, or
    None to leave its images out. With ``tta`` and no ``dataset`` it predicts its own images anew. ``trust_code`` lets
    the model be of the user's own code.
    """

    run: str | None
    predictions: str | None
    positive: str | None
    dataset: Dataset | None = None
    class_map: dict[str, str | None]
    tta: TestTime
    accelerator: Accelerator
    precision: Precision | None
    trust_code: bool
    evaluation: Evaluation


Checked = TypeVar("Checked", bound=Strict)


def validated(node: DictConfig, kind: type[Checked]) -> Checked:
    """The checked configuration of a command.

    Raises:
        ConfigError: with every key that is unknown, missing, of the wrong type or out of range.
    """
    try:
        task = OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"])
        content = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: has no value; set it: {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return validated_content(content, kind)


def validated_content(content: Any, kind: type[Checked]) -> Checked:
    """Return the checked configuration that plain data makes.

    Raises:
        ConfigError: with every key that is unknown, missing, of the wrong type or out of range.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(dict(item), kind) for item in error.errors())) from error


def _line(item: dict[str, Any], kind: type[Strict]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        nearest = did_you_mean(str(item["loc"][-1]), _siblings(item["loc"], kind))
        return f"{key}: there is no such key; {nearest}".rstrip("; ")
    if item["type"] == "missing":
        return f"{key}: is missing; set it: {key}=VALUE"
    return f"{key}={item['input']}: {item['msg'].removeprefix('Value error, ')}"


def _siblings(location: tuple[str | int, ...], kind: type[Strict]) -> list[str]:
    model: Any = kind
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(str(part))
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))
