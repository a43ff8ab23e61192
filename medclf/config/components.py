"""The classes that a configuration or a model file may name, the arguments of each, and how one is built.

A node is a mapping: ``_target_``, the import path of a class, and the arguments of that class. Nodes are plain data:
no expression in them is resolved. Imports neither torch nor lightning; ``build_component`` imports what a node names.
"""

import logging
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclf.errors import ConfigError, did_you_mean, listed

log = logging.getLogger(__name__)
TARGET = "_target_"
EXPRESSION = "${"
"""Start of an OmegaConf interpolation, which no node may hold."""


class ComponentConfig(BaseModel):
    """The arguments of a class: exact types, no unknown ones. ``in_channels`` and the like are ours to give."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Activation = Literal["relu", "elu", "gelu"]
Width = Annotated[int, Field(ge=1, le=16384)]
Share = Annotated[float, Field(ge=0, lt=1)]


class SmallCNNConfig(ComponentConfig):
    """Arguments of ``medclf.models.backbones.SmallCNN``."""

    channels: Annotated[list[Annotated[int, Field(ge=1, le=2048)]], Field(min_length=1, max_length=12)] = [16, 32, 64]
    grid: Annotated[int, Field(ge=1, le=32)] = 7
    activation: Activation = "relu"


class ResNetConfig(ComponentConfig):
    """Arguments of ``medclf.models.backbones.ResNet``."""

    name: Literal[
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d",
        "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
    ]  # fmt: skip


class LinearHeadConfig(ComponentConfig):
    """Arguments of ``torch.nn.Linear`` as a head."""

    in_features: Width | None = None
    out_features: Width | None = None
    bias: bool = True


class MLPHeadConfig(ComponentConfig):
    """Arguments of ``medclf.models.heads.MLPHead``."""

    in_features: Width | None = None
    out_features: Width | None = None
    hidden: Annotated[list[Width], Field(max_length=8)]
    dropout: Share = 0.0
    activation: Activation = "relu"
    normalize: bool = False


Components = Mapping[str, type[ComponentConfig]]


class AnyConfig(ComponentConfig):
    model_config = ConfigDict(extra="allow")


OPTIMIZERS: Components = {f"torch.optim.{name}": AnyConfig for name in ("Adam", "AdamW", "SGD")}
TRANSFORMS: Components = {
    f"torchvision.transforms.v2.{name}": AnyConfig
    for name in (
        "ColorJitter",
        "RandomAffine",
        "RandomAutocontrast",
        "RandomErasing",
        "RandomHorizontalFlip",
        "RandomRotation",
        "RandomVerticalFlip",
    )
}
CALLBACKS: Components = dict.fromkeys(
    (
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.callbacks.LearningRateMonitor",
        "medclf.training.callbacks.BestCheckpoint",
        "medclf.training.callbacks.ExponentialMovingAverage",
        "medclf.training.callbacks.LastCheckpoint",
        "medclf.training.callbacks.LogTrainingSamples",
        "medclf.training.callbacks.StochasticWeightAveraging",
        "medclf.training.callbacks.StopWhenDiverged",
        "medclf.training.pace.LogPace",
    ),
    AnyConfig,
)
LOGGERS: Components = {"lightning.pytorch.loggers.TensorBoardLogger": AnyConfig}
BACKBONES: Components = {
    "medclf.models.backbones.SmallCNN": SmallCNNConfig,
    "medclf.models.backbones.ResNet": ResNetConfig,
}
HEADS: Components = {
    "torch.nn.Linear": LinearHeadConfig,
    "medclf.models.heads.MLPHead": MLPHeadConfig,
}


def validate_component(key: str, node: Mapping[str, Any], known: Components, trust_code: bool) -> None:
    """Raise if a node names a class outside ``known``, or gives it arguments it does not take.

    Args:
        key: configuration key of the node, for messages.
        node: ``_target_`` and the arguments.
        known: classes that may be built, and their arguments.
        trust_code: whether any other class may be imported too; its arguments are then left to the class.

    Raises:
        ConfigError: naming the key, what is wrong and how to fix it.
    """
    for name, value in _strings(node, key):
        if EXPRESSION in value:
            raise ConfigError(f"{name}: holds an expression, {value!r}; only plain values are allowed here")
    target = node.get(TARGET)
    if not isinstance(target, str):
        raise ConfigError(f"{key}.{TARGET}: needs the import path of a class, such as {next(iter(known))}")
    if target not in known:
        if not trust_code:
            raise ConfigError(
                f"{key}.{TARGET}={target}: this class is not part of medclf; {did_you_mean(target, known)}Known: "
                f"{listed(known, 30)}. Importing it runs its code: if you trust it, add trust_code=true"
            )
        return
    try:
        known[target].model_validate({name: value for name, value in node.items() if name != TARGET})
    except ValidationError as error:
        raise ConfigError("\n".join(_line(key, dict(item), known[target]) for item in error.errors())) from error


def build_component(key: str, node: Mapping[str, Any], known: Components, trust_code: bool, **more: Any) -> Any:
    """Import the class that a node names and call it with the node's arguments.

    Args:
        key: configuration key of the node, for messages.
        node: ``_target_`` and the arguments.
        known: classes that may be built without ``trust_code``.
        trust_code: whether any other class may be imported and run.
        more: further arguments, where the node does not give them.

    Returns:
        The object.

    Raises:
        ConfigError: for a class that may not or cannot be imported, or does not take the arguments.
    """
    made = import_component(key, node, known, trust_code)
    arguments = {name: _build_nested(f"{key}.{name}", value) for name, value in node.items() if name != TARGET}
    try:
        return made(**{**more, **arguments})
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{key}: {node[TARGET]} cannot be built: {error}") from error


def import_component(key: str, node: Mapping[str, Any], known: Components, trust_code: bool) -> Any:
    """Import the class that a node names.

    Args: as ``build_component`` takes them.

    Raises:
        ConfigError: for a node that ``validate_component`` rejects, and a class that cannot be imported.
    """
    validate_component(key, node, known, trust_code)
    target = str(node[TARGET])
    if target not in known:
        log.warning("trust_code=true: importing %s, which is not part of medclf (%s).", target, key)
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{key}.{TARGET}={target}: cannot be imported: {error}; a module of your own must be in the folder that "
            "the command is run in, or installed"
        ) from error


def _build_nested(key: str, value: Any) -> Any:
    """Nodes within the arguments of trusted code; a known class takes none."""
    if isinstance(value, list):
        return [_build_nested(f"{key}.{at}", item) for at, item in enumerate(value)]
    if isinstance(value, dict) and TARGET in value:
        return build_component(key, value, {}, trust_code=True)
    return value


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every string in a value, names of entries included, with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield f"{key}.{name}", str(name)
            yield from _strings(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from _strings(inner, f"{key}.{at}")


def _line(key: str, item: dict[str, Any], kind: type[ComponentConfig]) -> str:
    name = ".".join([key, *(str(part) for part in item["loc"])])
    if item["type"] == "extra_forbidden":
        known = list(kind.model_fields)
        nearest = did_you_mean(str(item["loc"][-1]), known)
        return f"{name}: there is no such argument; {nearest}Valid: {listed(known) or 'none'}"
    if item["type"] == "missing":
        return f"{name}: is missing; set it: {name}=VALUE"
    return f"{name}={item['input']}: {item['msg']}"
