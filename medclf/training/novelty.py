"""What a model takes with it to tell images that do not belong: fitted to the features of its training images.

Why this distance: ``experiments/novelty.md``.
"""

import logging
from dataclasses import replace

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from torch import Tensor

from medclf.data.datamodule import ImageDataModule
from medclf.models.folding import folded
from medclf.prediction.novelty import Novelty, averaged
from medclf.training.module import ClassifierModule

log = logging.getLogger(__name__)
FITTED = 512
"""Training images at most, so that it costs seconds."""
COMPONENTS = 64
FALSE_ALARMS = 0.05
"""The share of validation images that may be called unlike the training images."""
BATCH = 32
"""Images at a time, as many as training took where that is fewer."""


class Watch:
    """Measures the distance of images while they are predicted, from features that prediction makes anyway.

    Args:
        novelty: without a threshold.
    """

    def __init__(self, novelty: Novelty) -> None:
        self.novelty = novelty
        self._found: dict[str, list[NDArray[np.float64]]] = {"val": [], "test": []}

    def look(self, part: str, features: Tensor) -> None:
        """Take the features of a batch of a split, (n, f)."""
        self._found[part].append(self.novelty.distance(features.float().cpu().numpy()))

    def judged(self) -> Novelty:
        """With the smallest threshold that no more than ``FALSE_ALARMS`` of the validation images seen are above."""
        validation, test = (np.concatenate(self._found[part]) for part in ("val", "test"))
        threshold = float(np.quantile(validation, 1 - FALSE_ALARMS, method="higher"))
        return replace(
            self.novelty,
            threshold=threshold,
            false_alarms=int((validation > threshold).sum()),
            validation=len(validation),
            test_alarms=int((test > threshold).sum()),
            test=len(test),
        )


def watch_of(trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, seed: int) -> Watch | None:
    """Fit to at most ``FITTED`` training images, drawn; None where they are too few or their features not finite.

    Args:
        trainer: that trained.
        module: with the weights that predict.
        data: of the run.
        seed: of the draw.
    """
    images = data.datasets["train"]
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:FITTED])
    features = _features(trainer, module, data, rows)
    if len(features) < 2 or not np.isfinite(features).all():
        log.warning("Images unlike the training images cannot be told: no two of these, or features not finite.")
        return None
    return Watch(fitted(features, getattr(module.network.backbone, "map_values", 1)))


def fitted(features: NDArray[np.float32], map_values: int) -> Novelty:
    """The Mahalanobis distance from features of training images, without a threshold.

    Of their first principal components, with the shrunk covariance of Ledoit and Wolf (Journal of Multivariate
    Analysis 2004).

    Args:
        features: shape (n, f * map_values).
        map_values: values of each feature map.
    """
    seen = averaged(features, map_values).astype(np.float64)
    pca = PCA(min(COMPONENTS, len(seen) - 1, seen.shape[1]), svd_solver="full").fit(seen)
    spread = LedoitWolf(assume_centered=True).fit(pca.transform(seen))
    # the components do not vary together, so that the covariance is a diagonal; of equal images it is zero
    variance = np.maximum(np.diag(spread.covariance_), np.finfo(np.float32).tiny)
    whitening = pca.components_.T / np.sqrt(variance)
    return Novelty(pca.mean_.astype(np.float32), whitening.astype(np.float32), map_values)


@torch.inference_mode()
def _features(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features of training images as they are, from what a frozen backbone has left, or computed."""
    images = data.datasets["train"]
    kept = images.features
    if kept is not None and (kept.views is None or kept.views.exact):
        return np.asarray(kept.values[0, rows], np.float32)
    device = trainer.strategy.root_device
    network = folded(module.network).to(device)
    size = min(BATCH, data.batch_size)
    parts = []
    for begin in range(0, len(rows), size):
        batch = torch.stack([images.store[images.rows[row]] for row in rows[begin : begin + size]])
        with trainer.precision_plugin.forward_context():
            parts.append(network.features(batch.to(device)).float().cpu().numpy())
    return np.concatenate(parts)
