"""Whether an image is unlike the training images: a photograph, or an X-ray given to a model of ultrasound."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from medclf.errors import DataError
from medclf.files import written_whole

FALSE_ALARMS = 0.05
"""The share of validation images that may be called unlike the training images."""
NEIGHBOURS = 5


@dataclass(frozen=True)
class Novelty:
    """Distance to the nearest training images in the network's features (Sun et al., ICML 2022).

    ``bank`` (n, f) are features of training images, each of length 1, ``threshold`` the distance above which an image
    is unlike them, and ``false_alarms`` of ``validation`` images of the same kind were above it.
    """

    bank: NDArray[np.float32]
    neighbours: int
    threshold: float
    false_alarms: int
    validation: int

    @classmethod
    def fit(cls, training: NDArray[np.float32], validation: NDArray[np.float32]) -> "Novelty":
        """Keep features of training images, shape (n, f), and choose the threshold on others of validation images.

        It is the smallest validation distance that no more than ``FALSE_ALARMS`` of the validation images are above.
        """
        bank = _unit(training).astype(np.float16).astype(np.float32)  # as it is saved
        neighbours = min(NEIGHBOURS, len(bank))
        distance = _distance(bank, neighbours, validation)
        threshold = float(np.quantile(distance, 1 - FALSE_ALARMS, method="higher"))
        return cls(bank, neighbours, threshold, int((distance > threshold).sum()), len(distance))

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each image, shape (n,): from its features, (n, f), scaled to length 1, to the k-th nearest of the bank."""
        return _distance(self.bank, self.neighbours, features)

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        content = {**vars(self), "bank": self.bank.astype(np.float16)}
        with written_whole(path) as file:
            np.savez_compressed(file, **content)

    @classmethod
    def load(cls, path: Path) -> "Novelty":
        """Read what ``save`` wrote.

        Raises:
            DataError: for a file that is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                bank = np.asarray(file["bank"], np.float32)
                counts = {name: int(file[name]) for name in ("neighbours", "false_alarms", "validation")}
                return cls(bank=bank, threshold=float(file["threshold"]), **counts)
        except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, BadZipFile) as error:
            raise DataError(f"{path}: cannot be read: {error}; it tells what is unlike the training images") from error


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


def _distance(bank: NDArray[np.float32], neighbours: int, features: NDArray[np.float32]) -> NDArray[np.float64]:
    own, kept = _unit(features).astype(np.float64), bank.astype(np.float64)
    squares = (own**2).sum(1)[:, None] + (kept**2).sum(1) - 2 * own @ kept.T
    nearest = np.partition(squares, neighbours - 1, axis=1)[:, neighbours - 1]
    return np.sqrt(np.maximum(nearest, 0))
