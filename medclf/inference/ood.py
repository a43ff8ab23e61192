"""Out-of-distribution score: whether an image is unlike the training images. Imports no torch."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.utils.atomic_write import write_bytes
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
        """Return the distance of each image, shape (n,), from features (n, f * map_values); infinite if not finite."""
        apart = average_maps(features, self.map_values).astype(np.float64) - self.mean
        along = apart @ self.components
        beside = apart - along @ self.components.T
        squares = (along**2 / self.variance).sum(1) + (beside**2).sum(1) / self.rest
        return np.asarray(np.nan_to_num(np.sqrt(squares), nan=np.inf))

    def judged(self, validation: NDArray[np.float64], test: NDArray[np.float64]) -> "OODDetector":
        """Return a detector whose threshold exceeds as many validation distances as ``FALSE_ALARMS`` allows.

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

    def save(self, path: Path) -> str:
        """Write it as an .npz file. Returns the SHA-256 of the file."""
        content = io.BytesIO()
        np.savez_compressed(content, **vars(self))
        return write_bytes(path, content.getvalue())

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
    """Return the mean of each map, from features of shape (n, f * map_values) to (n, f)."""
    return np.asarray(features.reshape(len(features), -1, map_values).mean(2))
