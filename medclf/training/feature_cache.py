"""What a frozen backbone makes of each image, computed once for all epochs and for all runs that share it."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2
from tqdm import tqdm

from medclf.config.schema import TrainConfig
from medclf.data.augmentation_views import DrawnViews, Flips, Views, are_flips
from medclf.data.checksummed_array import ChecksummedArray, DamagedArrayError, write_checksummed
from medclf.data.datamodule import Features, ImageDataModule, ImageDataset
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.models.network import Network
from medclf.training.module import ClassifierModule
from medclf.utils.atomic_write import atomic_file
from medclf.utils.errors import DataError
from medclf.utils.write_errors import format_unwritable

log = logging.getLogger(__name__)
FORMAT = 3
"""Changes when the same key would give other features than before."""
BATCH = 32
"""Images at a time: more make a CPU slower."""


def open_feature_cache(
    images: ImageDataset,
    views: Views | None,
    network: Network,
    compute: Callable[[Tensor], Tensor],
    arithmetic: str,
    folder: Path,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Return the features of a split's images, computing missing ones, shape (views, images, features).

    The file's name holds a hash of all that they depend on: the backbone's weights, the images and their preprocessing,
    the views and the arithmetic. It is written whole, so that runs may share it, and checked when it is opened.

    Args:
        images: of the split.
        views: of each image; None: the image as it is.
        network: whose backbone it is, frozen.
        compute: takes a batch of images, gives their features; ``network.features`` or what does the same faster.
        arithmetic: names the precision and the engine of ``compute``.
        folder: where it is kept.
        progress: whether a bar is shown.

    Raises:
        DataError: when the disk is full or cannot be written.
    """
    path = folder / f"features_{_key(images, views, network, arithmetic)}.npy"
    if path.is_file():
        try:
            return _opened(path)
        except DamagedArrayError as error:
            log.warning("Features: %s. They are computed again.", error)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        features = _computed(images, views, compute, progress)
        with atomic_file(path) as file:
            write_checksummed(file, features.shape, np.float32, (view.tobytes() for view in features))
    except OSError as error:
        raise DataError(format_unwritable("dataset.store", folder, error)) from error
    return _opened(path)


def _opened(path: Path) -> NDArray[np.float32]:
    ChecksummedArray(path, np.float32).check_rows()
    features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _key(images: ImageDataset, views: Views | None, network: Network, arithmetic: str) -> str:
    seen = hashlib.sha256(np.asarray(images.rows, np.int64).tobytes())
    facts = [FORMAT, images.store.path.name, seen.hexdigest(), views.name if views else "", arithmetic]
    return hashlib.sha256(json.dumps([*facts, compute_backbone_digest(network)]).encode()).hexdigest()[:16]


def compute_backbone_digest(network: Network) -> str:
    """Tells whether two backbones give the same features: of its modules, weights and statistics, and the scaling."""
    digest = hashlib.sha256(repr(network.backbone).encode())
    tensors = {**network.backbone.state_dict(), "mean": network.mean, "sd": network.sd}
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _computed(
    images: ImageDataset, views: Views | None, compute: Callable[[Tensor], Tensor], progress: bool
) -> NDArray[np.float32]:
    count = 1 if views is None else views.count
    jobs = [(view, at) for view in range(count) for at in range(len(images))]
    parts = []
    with tqdm(total=len(jobs), desc="Computing features", disable=not progress, leave=False) as bar:
        for begin in range(0, len(jobs), BATCH):
            chunk = jobs[begin : begin + BATCH]
            pixels = [_view(images, views, view, at) for view, at in chunk]
            parts.append(compute(torch.stack(pixels)).float().cpu().numpy())
            bar.update(len(chunk))
    return np.concatenate(parts).reshape(count, len(images), -1)


def _view(images: ImageDataset, views: Views | None, view: int, at: int) -> Tensor:
    image = images.store[images.rows[at]]
    return image if views is None else views.make(image, view, images.rows[at])


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
        twin = functools.cache(partial(fold_batchnorm, network))  # made where features are not on disk

        @torch.inference_mode()
        def compute(images: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                return twin().features(images.to(network.mean.device))

        arithmetic = f"{trainer.precision} {network.mean.device.type} folded"
        progress = trainer.is_global_zero and data.progress
        for part, images in data.datasets.items():
            views = self.views if part == "train" else None
            values = open_feature_cache(images, views, network, compute, arithmetic, self.folder, progress)
            images.features = Features(values, views)


def plan_feature_reuse(config: TrainConfig, augment: v2.Transform) -> ReuseFeatures | None:
    """Return the callback if features can be reused: a frozen backbone with few views of an image."""
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
