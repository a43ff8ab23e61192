"""Whether an image is unlike the training images: a photograph, or an X-ray given to a model of ultrasound."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from medclf.data.datamodule import ImageDataModule
from medclf.models.conv_fusion import fold_batchnorm
from medclf.training.module import ClassifierModule
from medclf.utils.atomic_write import atomic_file
from medclf.utils.errors import DataError
from medclf.utils.npz_arrays import read_arrays

FALSE_ALARMS = 0.05
"""The share of validation images that may be called unlike the training images."""
ARRAYS = ("mean", "components", "variance")
NUMBERS = ("rest", "threshold")
COUNTS = ("map_values", "false_alarms", "validation", "test_alarms", "test")
KINDS = {**dict.fromkeys((*ARRAYS, *NUMBERS), "f"), **dict.fromkeys(COUNTS, "iu")}
"""Kinds of the dtype of each array in the file."""
MAX_BYTES = 2**29
"""Size of the arrays together: over ten times that of 2,048 features with as many components."""


@dataclass(frozen=True)
class OODDetector:
    """Mahalanobis distance from the training images in the network's features (Lee et al., NeurIPS 2018).

    ``medclf.inference.ood`` fits it. A shrunk covariance is the same in all directions in which the training
    features do not vary, so that no matrix of (f, f) is needed.

    Args:
        mean: of the training features, shape (f,).
        components: directions of length 1 in which they vary, at right angles, (f, c).
        variance: in each of these, (c,).
        rest: variance in every other direction.
        map_values: features are maps of so many values, one after the other, of which the mean is taken first; 1: as
            they are.
        threshold: the distance above which an image is unlike the training images.
        false_alarms: validation images above it, of ``validation`` that it was chosen on.
        validation: images of the same kind that were not fitted on.
        test_alarms: test images above it.
        test: images; none of them was fitted on or chosen on.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variance: NDArray[np.float32]
    rest: float
    map_values: int
    threshold: float = np.inf
    false_alarms: int = 0
    validation: int = 0
    test_alarms: int = 0
    test: int = 0

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each image, shape (n,), from its features, (n, f * map_values); infinite where these are no numbers."""
        apart = average_maps(features, self.map_values).astype(np.float64) - self.mean
        along = apart @ self.components
        beside = apart - along @ self.components.T
        squares = (along**2 / self.variance).sum(1) + (beside**2).sum(1) / self.rest
        return np.asarray(np.nan_to_num(np.sqrt(squares), nan=np.inf))

    def judged(self, validation: NDArray[np.float64], test: NDArray[np.float64]) -> "OODDetector":
        """With a threshold that as many validation distances are above as ``FALSE_ALARMS`` allows.

        Halfway between two of them, or a hundredth above all, so that rounding decides nothing.
        """
        highest = np.quantile(validation, 1 - FALSE_ALARMS, method="inverted_cdf")
        threshold = float((highest + min(validation[validation > highest], default=1.02 * highest)) / 2)
        return replace(
            self,
            threshold=threshold,
            false_alarms=int((validation > threshold).sum()),
            validation=len(validation),
            test_alarms=int((test > threshold).sum()),
            test=len(test),
        )

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        with atomic_file(path) as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "OODDetector":
        """Read what ``save`` wrote.

        Raises:
            DataError: for a file that is damaged.
        """
        try:
            arrays = read_arrays(path, KINDS, MAX_BYTES)
            mean, components, variance = (np.asarray(arrays[name], np.float32) for name in ARRAYS)
            if components.shape != (*mean.shape, *variance.shape):
                raise ValueError("its parts do not fit each other")
            if any(arrays[name].shape for name in (*NUMBERS, *COUNTS)):
                raise ValueError("it has a list where one number is due")
            rest, threshold = (float(arrays[name]) for name in NUMBERS)
            counts = {name: int(arrays[name]) for name in COUNTS}
            return cls(mean, components, variance, rest, threshold=threshold, **counts)
        except ValueError as error:
            raise DataError(f"{path}: cannot be read: {error}; it tells what is unlike the training images") from error


def average_maps(features: NDArray[np.float32], map_values: int) -> NDArray[np.float32]:
    """The mean of each map, from features of shape (n, f * map_values) to (n, f)."""
    return np.asarray(features.reshape(len(features), -1, map_values).mean(2))


log = logging.getLogger(__name__)
FITTED = 512
"""Training images at most, so that it costs seconds."""
SMALLEST = float(np.finfo(np.float32).tiny)
BATCH = 32
"""Images at a time, as many as training took where that is fewer."""


class FeatureCollector:
    """Measures the distance of images while they are predicted, from features that prediction makes anyway.

    Args:
        novelty: without a threshold.
    """

    def __init__(self, novelty: OODDetector) -> None:
        self.novelty = novelty
        self._found: dict[str, list[NDArray[np.float64]]] = {"val": [], "test": []}

    def look(self, part: str, features: Tensor) -> None:
        """Take the features of a batch of a split, (n, f)."""
        self._found[part].append(self.novelty.distance(features.float().cpu().numpy()))

    def judged(self) -> OODDetector:
        """With the threshold that the validation images seen give."""
        return self.novelty.judged(*(np.concatenate(self._found[part]) for part in ("val", "test")))


def attach_feature_collector(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, seed: int
) -> FeatureCollector | None:
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
    return FeatureCollector(fit_ood_detector(features, getattr(module.network.backbone, "map_values", 1)))


def fit_ood_detector(features: NDArray[np.float32], map_values: int) -> OODDetector:
    """The Mahalanobis distance from features of training images, without a threshold.

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
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features of training images as they are, from what a frozen backbone has left, or computed."""
    images = data.datasets["train"]
    kept = images.features
    if kept is not None and (kept.views is None or kept.views.exact):
        return np.asarray(kept.values[0, rows], np.float32)
    device = trainer.strategy.root_device
    network = fold_batchnorm(module.network).to(device)
    size = min(BATCH, data.batch_size)
    parts = []
    for begin in range(0, len(rows), size):
        batch = torch.stack([images.store[images.rows[row]] for row in rows[begin : begin + size]])
        with trainer.precision_plugin.forward_context():
            parts.append(network.features(batch.to(device)).float().cpu().numpy())
    return np.concatenate(parts)
