"""Whether an image is unlike the training images: a photograph, or an X-ray given to a model of ultrasound."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Novelty:
    """Distance to the nearest training images in the network's features (Sun et al., ICML 2022).

    ``bank`` (n, f) are features of training images, ``threshold`` the distance above which an image is unlike them, and
    ``false_alarms`` of ``validation`` images of the same kind were above it.
    """

    bank: NDArray[np.float32]
    neighbours: int
    threshold: float
    false_alarms: int
    validation: int

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each image, shape (n,)."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "Novelty":
        """Read what ``save`` wrote."""
        raise NotImplementedError
