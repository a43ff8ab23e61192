"""What the callbacks, the network and the transforms of a configuration must be to the rest of it. Imports no torch."""

from itertools import pairwise
from typing import Any

from medclf.config.callback_schemas import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    LIGHTNING,
    MOVING_AVERAGE,
    STOCHASTIC_AVERAGE,
    STOP_WHEN_DIVERGED,
)
from medclf.config.component_registry import (
    BACKBONES,
    CALLBACKS,
    HEADS,
    LOGGERS,
    OPTIMIZERS,
    TARGET,
    TRANSFORMS,
    validate_component,
)
from medclf.config.distributed import count_processes
from medclf.config.limits import MAX_HEAD_WEIGHTS
from medclf.config.schema import TrainConfig
from medclf.metric_registry import monitor_mode
from medclf.utils.errors import ConfigError

NEEDED = {
    "best_checkpoint": (BEST_CHECKPOINT, "the best epoch could not be chosen"),
    "divergence": (STOP_WHEN_DIVERGED, "a training that has diverged would go on until it fails"),
    "last_checkpoint": (LAST_CHECKPOINT, "a run that is interrupted could not be resumed"),
}
"""Callbacks that a run does not do without: their class, and what would not work."""
ONE_OF = {
    "trainer.enable_progress_bar": (f"{LIGHTNING}TQDMProgressBar", f"{LIGHTNING}RichProgressBar"),
    "trainer.enable_model_summary": (f"{LIGHTNING}ModelSummary", f"{LIGHTNING}RichModelSummary"),
    "callbacks": (MOVING_AVERAGE, STOCHASTIC_AVERAGE),
}
"""Callbacks that exclude each other, by the key that switches them off."""
BORDERS = {"ElasticTransform": "sigma", "GaussianBlur": "kernel_size", "RandomCrop": "padding"}
"""Arguments by which transforms reach over the edge of an image."""
RESNET_STRIDE = 32
"""Pixels of the image, along a side, of one value of a ResNet's last feature map."""
MLP_HEAD = "medclf.models.heads.MLPHead"
SMALL_CNN = "medclf.models.backbones.SmallCNN"
RESNET = "medclf.models.backbones.ResNet"


def validate_components(config: TrainConfig) -> None:
    """Raise if a class that the configuration names is unknown, does not take its arguments, or does not fit the rest.

    Raises:
        ConfigError: naming key, value and remedy of the first that does not fit.
    """
    _validate_all(config)
    _check_callbacks(config)
    for key, node in _transforms(config):
        _check_transform(key, node, config.dataset.image_size, config.dataset.channels)
    _check_network(config)
    _check_batch_norm(config)


def _validate_all(config: TrainConfig) -> None:
    trust = config.trust_code
    validate_component("model.backbone", config.model.backbone, BACKBONES, trust)
    validate_component("model.head", config.model.head, HEADS, trust)
    validate_component("optimizer", config.optimizer.model_dump(by_alias=True), OPTIMIZERS, trust)
    for name, node in config.logger.items():
        validate_component(f"logger.{name}", node, LOGGERS, trust)
    for name, node in config.callbacks.items():
        validate_component(f"callbacks.{name}", node, CALLBACKS, trust)
    for at, node in enumerate(config.augmentation.transforms):
        validate_component(f"augmentation.transforms.{at}", node, TRANSFORMS, trust)


def _check_callbacks(config: TrainConfig) -> None:
    targets = [str(node[TARGET]) for node in config.callbacks.values()]
    for name, (target, effect) in NEEDED.items():
        if name not in config.callbacks:
            raise ConfigError(f"callbacks.{name}: is missing, and without it {effect}; leave out ~callbacks.{name}")
        if targets.count(target) > 1:
            raise ConfigError(f"callbacks: {target} occurs {targets.count(target)} times; once is enough")
        if config.callbacks[name][TARGET] != target and config.callbacks[name][TARGET] in CALLBACKS:
            raise ConfigError(
                f"callbacks.{name}.{TARGET}={config.callbacks[name][TARGET]}: without {target} {effect}; give this "
                f"callback another name: +callbacks.NAME.{TARGET}=…"
            )
    _check_exclusive(config, targets)
    for name, node in config.callbacks.items():
        _check_callback(f"callbacks.{name}", node, config)


def _check_exclusive(config: TrainConfig, targets: list[str]) -> None:
    enabled = {
        "trainer.enable_progress_bar": config.trainer.enable_progress_bar,
        "trainer.enable_model_summary": config.trainer.enable_model_summary,
    }
    for key, kinds in ONE_OF.items():
        found = [target for target in targets if target in kinds]
        if len(found) > 1:
            raise ConfigError(f"callbacks: {found[0]} and {found[1]} exclude each other; leave one out")
        if found and enabled.get(key) is False:
            raise ConfigError(f"{key}=false: contradicts callbacks, which have {found[0]}; use {key}=true")


def _check_callback(key: str, node: dict[str, Any], config: TrainConfig) -> None:
    monitor, mode = node.get("monitor"), node.get("mode")
    if isinstance(monitor, str) and mode in ("min", "max") and mode != monitor_mode(monitor):
        better = {"min": "smaller", "max": "larger"}[monitor_mode(monitor)]
        raise ConfigError(
            f"{key}.mode={mode}: {monitor} is better when {better}; use {key}.mode={monitor_mode(monitor)}"
        )
    if node[TARGET] == BEST_CHECKPOINT and monitor != config.monitor:
        raise ConfigError(
            f"{key}.monitor={monitor}: differs from monitor={config.monitor}, by which the run is reported; use "
            f"monitor={monitor}"
        )
    at_epoch_end = node[TARGET] == f"{LIGHTNING}EarlyStopping" and node.get("check_on_train_epoch_end")
    if at_epoch_end and config.trainer.check_val_every_n_epoch != 1:
        raise ConfigError(
            f"{key}.check_on_train_epoch_end=true: needs a validation in each epoch; use "
            "trainer.check_val_every_n_epoch=1"
        )
    if node[TARGET] == f"{LIGHTNING}GradientAccumulationScheduler" and config.trainer.accumulate_grad_batches != 1:
        raise ConfigError(
            f"{key}: sets trainer.accumulate_grad_batches by epoch; use trainer.accumulate_grad_batches=1"
        )
    if node[TARGET] == STOCHASTIC_AVERAGE and config.trainer.max_epochs in (None, -1):
        raise ConfigError(f"{key}: begins at a share of trainer.max_epochs; set it: trainer.max_epochs=25")


def _transforms(config: TrainConfig) -> list[tuple[str, dict[str, Any]]]:
    """Every known transform with its key, those within others included."""
    waiting = [(f"augmentation.transforms.{at}", node) for at, node in enumerate(config.augmentation.transforms)]
    found = []
    while waiting:
        key, node = waiting.pop()
        if node[TARGET] in TRANSFORMS:
            found.append((key, node))
            waiting += [(f"{key}.transforms.{at}", inner) for at, inner in enumerate(node.get("transforms", []))]
    return found


def _check_transform(key: str, node: dict[str, Any], image_size: int, channels: int) -> None:
    sides = node.get("size", image_size)
    if any(side != image_size for side in (sides if isinstance(sides, list) else [sides])):
        raise ConfigError(
            f"{key}.size={sides}: the network sees images of {image_size} pixels; use {key}.size={image_size}"
        )
    given = node.get("num_output_channels", 1 if str(node[TARGET]).endswith(".Grayscale") else channels)
    if given != channels:
        raise ConfigError(
            f"{key}.num_output_channels={given}: the network sees {channels}; use {key}.num_output_channels={channels}"
        )
    border = _border(node)
    if border >= image_size:
        raise ConfigError(
            f"{key}: reaches {border} pixels over the edge, and an image has {image_size}; use a smaller "
            f"{BORDERS[str(node[TARGET]).rpartition('.')[2]]}"
        )
    fill = node.get("fill")
    if isinstance(fill, list) and len(fill) not in (1, channels):
        raise ConfigError(f"{key}.fill={fill}: has {len(fill)} values, and an image has {channels} channels")


def _border(node: dict[str, Any]) -> int:
    """The pixels beyond the edge of an image that a transform fills by reflection."""
    name = str(node[TARGET]).rpartition(".")[2]
    if name == "ElasticTransform":
        return int(8 * node.get("sigma", 5.0) + 1) // 2
    if name == "GaussianBlur":
        kernel = node["kernel_size"]
        return int(max(kernel if isinstance(kernel, list) else [kernel])) // 2
    reflects = name == "RandomCrop" and node.get("padding_mode") in ("reflect", "symmetric")
    return int(node.get("padding") or 0) if reflects else 0


def _features(config: TrainConfig) -> int | None:
    """The features that a known backbone gives; None for any other."""
    backbone = config.model.backbone
    if backbone[TARGET] == SMALL_CNN:
        return int(backbone.get("channels", [64])[-1] * backbone.get("grid", 7) ** 2)
    if backbone[TARGET] == RESNET:
        return 512 if backbone["name"] in ("resnet18", "resnet34") else 2048
    return None


def _check_network(config: TrainConfig) -> None:
    backbone, head, size = config.model.backbone, config.model.head, config.dataset.image_size
    layers = len(backbone.get("channels", [16, 32, 64])) if backbone[TARGET] == SMALL_CNN else 1
    if size >> (layers - 1) == 0:
        raise ConfigError(
            f"model.backbone.channels: {layers} layers, each of which halves the image, leave nothing of "
            f"{size} pixels; use at most {size.bit_length()}, or a larger dataset.image_size"
        )
    features = _features(config)
    if features is None or head[TARGET] not in HEADS:
        return
    weights = sum(before * after for before, after in pairwise([features, *head.get("hidden", []), 1]))
    if weights > MAX_HEAD_WEIGHTS:
        raise ConfigError(
            f"model.head.hidden={head.get('hidden', [])}: {weights} weights on {features} features; at most "
            f"{MAX_HEAD_WEIGHTS} are allowed; use smaller layers"
        )


def _check_batch_norm(config: TrainConfig) -> None:
    """Batch normalisation needs two values of each channel or feature in a training step."""
    trainer, model = config.trainer, config.model
    if trainer.sync_batchnorm and count_processes(trainer.model_dump()) != 1:
        return  # the values of all processes count
    if model.head[TARGET] == MLP_HEAD and model.head.get("normalize") and config.dataset.batch_size == 1:
        raise ConfigError(
            "dataset.batch_size=1: model.head.normalize=true needs two images in a step; use dataset.batch_size=2, or "
            "model.head.normalize=false"
        )
    learns = not model.frozen or model.unfreeze_at is not None
    side = -(-config.dataset.image_size // RESNET_STRIDE)
    if model.backbone[TARGET] == RESNET and learns and config.dataset.batch_size * side**2 == 1:
        raise ConfigError(
            f"dataset.batch_size=1: the batch normalisation of {model.backbone['name']} has one value per channel at "
            f"dataset.image_size={config.dataset.image_size} and cannot learn from it; use dataset.batch_size=2"
        )
