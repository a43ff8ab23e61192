"""The classes that a configuration or a model file may name, the arguments of each, and how one is built.

A node is a mapping: ``_target_``, the import path of a class, and the arguments of that class. Nodes are plain data:
no expression in them is resolved. Imports neither torch nor lightning; ``build_component`` imports what a node names.
"""

import logging
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from medclf.config.callback_schemas import CALLBACKS, LOGGERS
from medclf.config.field_types import ComponentConfig, Components, Share
from medclf.config.messages import format_validation_errors, format_value
from medclf.config.optimizer_schemas import OPTIMIZERS
from medclf.config.transform_schemas import TRANSFORMS
from medclf.utils.errors import ConfigError, format_list, suggest

__all__ = [
    "BACKBONES", "CALLBACKS", "HEADS", "LOGGERS", "OPTIMIZERS", "TRANSFORMS", "Components", "build_component",
    "import_component", "validate_component",
]  # fmt: skip
log = logging.getLogger(__name__)
TARGET = "_target_"
EXPRESSION = "${"
"""Start of an OmegaConf interpolation, which no node may hold."""


Activation = Literal["relu", "elu", "gelu"]
Channels = Annotated[list[Annotated[int, Field(ge=1, le=2048)]], Field(min_length=1, max_length=12)]
Width = Annotated[int, Field(ge=1, le=16384)]


class SmallCNNConfig(ComponentConfig):
    """Arguments of ``medclf.models.backbones.SmallCNN``."""

    channels: Channels = Field([16, 32, 64])
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
            raise ConfigError(f"{name}: holds an expression, {format_value(value)}; only plain values are allowed here")
    target = node.get(TARGET)
    if not isinstance(target, str):
        raise ConfigError(f"{key}.{TARGET}: needs the import path of a class, such as {next(iter(known))}")
    if target in known:
        _validate_arguments(key, node, known[target])
    else:
        _validate_foreign(key, node, known, trust_code)
    for name, inner in _nested(node, key):
        validate_component(name, inner, known, trust_code)


def _validate_arguments(key: str, node: Mapping[str, Any], schema: type[ComponentConfig]) -> None:
    """Check the arguments of a known class, and that what it needs is installed."""
    try:
        schema.model_validate({name: value for name, value in node.items() if name != TARGET})
    except ValidationError as error:
        raise ConfigError(format_validation_errors(error, schema, key)) from error
    for module, package in schema.packages.items():
        if find_spec(module) is None:
            raise ConfigError(f"{key}.{TARGET}={node[TARGET]}: needs {module}: python -m pip install {package}")


def _validate_foreign(key: str, node: Mapping[str, Any], known: Components, trust_code: bool) -> None:
    """Check that a class outside the known ones may be imported."""
    target = str(node[TARGET])
    if not trust_code:
        raise ConfigError(
            f"{key}.{TARGET}={format_value(target)}: this class is not part of medclf; "
            f"{suggest(target, known)}importing "
            f"it runs its code: if you trust it, add trust_code=true. Known: {_listed_classes(known)}"
        )
    if not all(part.isidentifier() for part in target.split(".")) or "." not in target:
        raise ConfigError(
            f"{key}.{TARGET}={format_value(target)}: must be the import path of a class, such as my_module.MyClass"
        )
    for name in node:
        if name != TARGET and not _is_argument(name):
            raise ConfigError(f"{key}.{name}: cannot be an argument; leave it out: ~{key}.{name}")


def _listed_classes(known: Components) -> str:
    """The classes by module: ``torch.optim.{Adam,SGD}``."""
    modules: dict[str, list[str]] = {}
    for target in known:
        module, _, name = target.rpartition(".")
        modules.setdefault(module, []).append(name)
    return format_list(f"{module}.{{{','.join(names)}}}" for module, names in modules.items())


def _is_argument(name: Any) -> bool:
    """Whether a key names an argument; Hydra's ``_args_``, ``_partial_`` and the like do not."""
    return isinstance(name, str) and name.isidentifier() and not (name.startswith("_") and name.endswith("_"))


def _nested(value: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node in the arguments of a node, with its key; those within them are left to them."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        if isinstance(inner, Mapping) and TARGET in inner:
            yield f"{key}.{name}", inner
        else:
            yield from _nested(inner, f"{key}.{name}")


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
    arguments = {name: value for name, value in node.items() if name != TARGET}
    if node[TARGET] in known:
        arguments = known[node[TARGET]].converted(arguments)
    arguments = {name: _build_nested(f"{key}.{name}", value, known, trust_code) for name, value in arguments.items()}
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


def _build_nested(key: str, value: Any, known: Components, trust_code: bool) -> Any:
    """Build the nodes within an argument."""
    if isinstance(value, list):
        return [_build_nested(f"{key}.{at}", item, known, trust_code) for at, item in enumerate(value)]
    if isinstance(value, dict) and TARGET in value:
        return build_component(key, value, known, trust_code)
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
