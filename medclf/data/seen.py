from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.config.image_limits import MAX_MEGAPIXELS
from medclf.config.schema import Form
from medclf.data.pixels import UnreadableImageError
from medclf.data.preprocessing import preprocess
from medclf.data.reading import decode


def seen_by_network(
    root: Path, config: Form, max_megapixels: float = MAX_MEGAPIXELS
) -> Callable[[str], NDArray[np.uint8] | None]:
    """A function from the path of an image to what the network sees of it, (channels, size, size), before augmentation.

    It gives None where the image is no longer there, or cannot be read.
    """

    def seen(path: str) -> NDArray[np.uint8] | None:
        try:
            image = decode(root, path, config.channels == 1, max_megapixels=max_megapixels)
            return preprocess(image, config)
        except UnreadableImageError:
            return None

    return seen
