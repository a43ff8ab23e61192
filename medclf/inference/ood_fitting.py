"""Fitting the out-of-distribution score to the features of training images.

Why this distance: ``experiments/novelty.md``.
"""

import logging

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

from medclf.data.datamodule import ImageDataModule
from medclf.inference.ood import OODDetector, average_maps
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.models.network import Network

log = logging.getLogger(__name__)
FITTED = 512
"""Training images at most, so that it costs seconds."""
SMALLEST = float(np.finfo(np.float32).tiny)
BATCH = 32
"""Images at a time, as many as training took where that is fewer."""


def fit_to_training_images(
    trainer: lightning.Trainer, network: Network, data: ImageDataModule, seed: int
) -> OODDetector | None:
    """Fit to at most ``FITTED`` training images, drawn; None where they are too few or their features not finite.

    Args:
        trainer: that trained.
        network: with the weights that predict.
        data: of the run.
        seed: of the draw.
    """
    images = data.datasets["train"]
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:FITTED])
    features = _features(trainer, network, data, rows)
    if len(features) < 2 or not np.isfinite(features).all():
        log.warning("Images unlike the training images cannot be told: no two of these, or features not finite.")
        return None
    return fit_ood_detector(features, getattr(network.backbone, "map_values", 1))


def fit_ood_detector(features: NDArray[np.float32], map_values: int) -> OODDetector:
    """Fit the Mahalanobis distance to features of training images, without a threshold.

    With the shrunk covariance of Ledoit and Wolf (Journal of Multivariate Analysis 2004).

    Args:
        features: shape (n, f * map_values).
        map_values: values of each feature map.
    """
    seen = average_maps(features, map_values).astype(np.float64)
    mean = seen.mean(0)
    shrinkage = ledoit_wolf_shrinkage(seen - mean, assume_centered=True)
    _, lengths, components = np.linalg.svd(seen - mean, full_matrices=False)
    own = lengths**2 / len(seen)
    common = shrinkage * own.sum() / seen.shape[1]
    variance = np.maximum((1 - shrinkage) * own + common, SMALLEST)  # of equal images it is zero
    return OODDetector(
        mean=mean.astype(np.float32),
        components=components.T.astype(np.float32),
        variance=variance.astype(np.float32),
        rest=float(max(common, SMALLEST)),
        map_values=map_values,
    )


@torch.inference_mode()
def _features(
    trainer: lightning.Trainer, network: Network, data: ImageDataModule, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features of training images as they are, from what a frozen backbone has left, or computed."""
    images = data.datasets["train"]
    kept = images.features
    if kept is not None and (kept.views is None or kept.views.exact):
        return np.asarray(kept.values[0, rows], np.float32)
    device = trainer.strategy.root_device
    folded = fold_batchnorm(network).to(device)
    size = min(BATCH, data.batch_size)
    parts = []
    for begin in range(0, len(rows), size):
        batch = torch.stack([images.store[images.rows[row]] for row in rows[begin : begin + size]])
        with trainer.precision_plugin.forward_context():
            parts.append(folded.features(batch.to(device)).float().cpu().numpy())
    return np.concatenate(parts)
