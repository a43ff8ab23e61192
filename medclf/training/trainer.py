import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from medclf.config.component_registry import CALLBACKS, build_component, import_component
from medclf.config.schema import TrainConfig
from medclf.data.datamodule import ImageDataModule
from medclf.models.backbones import ResNet
from medclf.models.weights import load_weights
from medclf.training.checkpointing import AtomicCheckpointIO, RandomStateCheckpoint, TerminateTogether
from medclf.training.loggers import build_loggers
from medclf.training.losses import class_weights
from medclf.training.module import ClassifierModule
from medclf.utils.errors import ConfigError
from medclf.utils.run_folder import Run


def build_trainer(config: TrainConfig, run: Run, more: Sequence[Callback] = ()) -> lightning.Trainer:
    """Build Lightning's Trainer with the callbacks and the loggers of the config, all writing into the run folder.

    Args:
        config: of the run.
        run: whose folder it is.
        more: callbacks before those of the config.

    Raises:
        ConfigError: in Lightning's own words, for a value it does not take or a device that is not there.
    """
    trust = config.trust_code
    configured = (_callback(name, node, run.checkpoints, trust) for name, node in config.callbacks.items())
    callbacks = [RandomStateCheckpoint(), TerminateTogether(), *more, *configured]
    loggers = build_loggers(config, run)
    # defaults are Lightning's own: an argument that another version lacks is then not passed to it
    arguments = config.trainer.model_dump(exclude_defaults=True)
    if arguments["accelerator"] == "cpu" or not torch.cuda.is_available():
        arguments.pop("sync_batchnorm", None)  # torch can do it on GPUs alone
    arguments["plugins"] = [AtomicCheckpointIO()]
    try:
        return lightning.Trainer(**arguments, callbacks=callbacks, logger=loggers, default_root_dir=run.folder)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {error}") from error


def _callback(name: str, node: dict[str, Any], checkpoints: Path, trust_code: bool) -> Callback:
    key = f"callbacks.{name}"
    made = import_component(key, node, CALLBACKS, trust_code)
    keeps_checkpoints = isinstance(made, type) and issubclass(made, ModelCheckpoint)
    folder = {"dirpath": str(checkpoints)} if keeps_checkpoints else {}
    callback = build_component(key, node, CALLBACKS, trust_code, **folder)
    if not isinstance(callback, Callback):
        raise ConfigError(f"{key}._target_={node['_target_']}: is not a Lightning callback")
    return callback


log = logging.getLogger(__name__)


def build_module(config: TrainConfig, data: ImageDataModule) -> ClassifierModule:
    """Return the module of a configuration with its pretrained weights.

    Raises:
        ConfigError: for parts that do not fit, and weights that cannot be had.
    """
    mean, sd = data.normalization()
    classes = data.table.classes
    weights = class_weights(config.loss, list(data.table.part("train")["class"]), classes)
    module = ClassifierModule(
        model=config.model.model_dump(),
        loss={"weights": weights, **config.loss.model_dump(include={"label_smoothing", "gamma"})},
        optimizer=config.optimizer.model_dump(by_alias=True),
        scheduler=config.scheduler.model_dump(),
        mixing=config.augmentation.model_dump(include={"mixup", "cutmix"}),
        monitor=config.monitor,
        classes=classes,
        positive=config.dataset.positive,
        mean=mean,
        sd=sd,
        image_size=config.dataset.image_size,
        trust_code=config.trust_code,
    )
    if config.resume is None:
        load_weights(module.network, config.model.weights)
    if config.model.weights == "none":
        _say_random(module)
    if config.model.compile:
        module.network.backbone.compile()  # in place: no name of a weight changes
        log.info("The backbone is compiled with its first batches, which takes a minute.")
    return module


def _say_random(module: ClassifierModule) -> None:
    if module.network.frozen:
        log.warning("model.frozen=true with model.weights=none: the head learns from a random backbone.")
    elif isinstance(module.network.backbone, ResNet):
        log.info("The weights start random; model.weights=default starts from ImageNet's, which few images gain by.")
