"""Whether an image is unlike the training images: a photograph, or an X-ray given to a model of ultrasound."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from medclf.errors import DataError
from medclf.files import written_whole

COUNTS = ("map_values", "false_alarms", "validation", "test_alarms", "test")


@dataclass(frozen=True)
class Novelty:
    """Mahalanobis distance from the training images in the network's features (Lee et al., NeurIPS 2018).

    It is taken among the first principal components of the training features, as ``medclf.training.novelty`` fits them.

    Args:
        mean: of the training features, shape (f,).
        whitening: takes features less their mean to components of variance 1, which do not vary together, (f, c).
        map_values: features are maps of so many values, one after the other, of which the mean is taken first; 1: as
            they are.
        threshold: the distance above which an image is unlike the training images.
        false_alarms: validation images above it, of ``validation`` that it was chosen on.
        validation: images of the same kind that were not fitted on.
        test_alarms: test images above it.
        test: images; none of them was fitted on or chosen on.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    map_values: int
    threshold: float = np.inf
    false_alarms: int = 0
    validation: int = 0
    test_alarms: int = 0
    test: int = 0

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each image, shape (n,), from its features, (n, f * map_values)."""
        apart = averaged(features, self.map_values).astype(np.float64) - self.mean
        return np.asarray(np.linalg.norm(apart @ self.whitening, axis=1))

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        with written_whole(path) as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Novelty":
        """Read what ``save`` wrote.

        Raises:
            DataError: for a file that is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                mean, whitening = (np.asarray(file[name], np.float32) for name in ("mean", "whitening"))
                if mean.ndim != 1 or whitening.shape[:1] != mean.shape or whitening.ndim != 2:
                    raise ValueError("its parts do not fit each other")
                counts = {name: int(file[name]) for name in COUNTS}
                return cls(mean, whitening, threshold=float(file["threshold"]), **counts)
        except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
            raise DataError(f"{path}: cannot be read: {error}; it tells what is unlike the training images") from error


def averaged(features: NDArray[np.float32], map_values: int) -> NDArray[np.float32]:
    """The mean of each map, from features of shape (n, f * map_values) to (n, f)."""
    return np.asarray(features.reshape(len(features), -1, map_values).mean(2))
