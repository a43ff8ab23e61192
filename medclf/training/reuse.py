"""Training the head of a frozen backbone on features that are computed once, in the place of images."""

import functools
import logging
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchvision.transforms import v2

from medclf.config.schema import Config
from medclf.data.augmentation_views import DrawnViews, Flips, Views, are_flips
from medclf.data.datamodule import Features, ImageDataModule
from medclf.models.batchnorm_folding import folded
from medclf.models.network import Network
from medclf.training.feature_cache import open_features
from medclf.training.module import ClassifierModule

log = logging.getLogger(__name__)


class ReuseFeatures(Callback):
    """While the backbone is frozen, gives the features of images in their place; validation and test likewise.

    Where training images are flipped or left as they are, training goes as it would without, but for rounding; drawn
    views are an approximation.

    Args:
        views: of a training image.
        folder: where features are kept.
        unfreeze_at: the epoch from which on the backbone learns, or None.
    """

    def __init__(self, views: Views, folder: Path, unfreeze_at: int | None) -> None:
        self.views = views
        self.folder = folder
        self.unfreeze_at = unfreeze_at

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compute or open the features; a checkpoint to go on from has been loaded by now."""
        if self._learns(trainer):
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        assert isinstance(pl_module, ClassifierModule)
        if trainer.is_global_zero:
            self._set(data, pl_module.network, trainer)
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            self._set(data, pl_module.network, trainer)
        kind = "" if self.views.exact else f" {self.views.count} drawn views of each image, an approximation."
        log.info("The backbone is frozen: the features of each image are computed once.%s", kind)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go back to images once the backbone learns."""
        if self._learns(trainer):
            for dataset in trainer.datamodule.datasets.values():  # type: ignore[attr-defined]
                dataset.features = None

    def _learns(self, trainer: lightning.Trainer) -> bool:
        return self.unfreeze_at is not None and trainer.current_epoch >= self.unfreeze_at

    def _set(self, data: ImageDataModule, network: Network, trainer: lightning.Trainer) -> None:
        twin = functools.cache(partial(folded, network))  # made where features are not on disk

        @torch.inference_mode()
        def compute(images: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                return twin().features(images.to(network.mean.device))

        arithmetic = f"{trainer.precision} {network.mean.device.type} folded"
        progress = trainer.is_global_zero and data.progress
        for part, images in data.datasets.items():
            views = self.views if part == "train" else None
            values = open_features(images, views, network, compute, arithmetic, self.folder, progress)
            images.features = Features(values, views)


def reuse_of(config: Config, augment: v2.Transform) -> ReuseFeatures | None:
    """The callback where features can be reused: a frozen backbone, and few views of an image or ``feature_views``."""
    model, mixing = config.model, config.augmentation
    frozen = model.frozen or model.unfreeze_at is not None
    if not frozen or mixing.mixup or mixing.cutmix or model.feature_views == 0:
        return None
    if are_flips(augment):
        views: Views = Flips(augment)
    elif model.feature_views is not None:
        views = DrawnViews(augment, model.feature_views, config.seed, str(mixing.transforms))
    else:
        return None
    return ReuseFeatures(views, Path(config.dataset.store), model.unfreeze_at)
