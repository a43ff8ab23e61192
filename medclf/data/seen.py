from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.config.schema import Form
from medclf.data.pixels import UnreadableImageError
from medclf.data.preprocessing import preprocess
from medclf.data.reading import decode


def seen_by_network(root: Path, config: Form) -> Callable[[str], NDArray[np.uint8] | None]:
    """A function from the path of an image to what the network sees of it, (channels, size, size), before augmentation.

    It gives None where the image is no longer there, or cannot be read.
    """

    def seen(path: str) -> NDArray[np.uint8] | None:
        try:
            return preprocess(decode(root, path, config.channels == 1), config)
        except UnreadableImageError:
            return None

    return seen
