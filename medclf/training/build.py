"""The module of a config, for the images of a data module."""

import logging

from medclf.config.schema import Config
from medclf.data.datamodule import ImageDataModule
from medclf.models.backbones import ResNet
from medclf.models.weights import load_weights
from medclf.training.losses import class_weights
from medclf.training.module import ClassifierModule

log = logging.getLogger(__name__)


def build_module(config: Config, data: ImageDataModule) -> ClassifierModule:
    """The module of a config for the images of a data module, with the pretrained weights that the config names.

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
