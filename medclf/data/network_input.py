from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.config.schema import Form
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.data.preprocessing import read_preprocessed
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS


def seen_by_network(
    root: Path, config: Form, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Callable[[str], NDArray[np.uint8] | None]:
    """A function from the path of an image to what the network sees of it, (channels, size, size), before augmentation.

    It gives None where the image is no longer there, or cannot be read.
    """

    def seen(path: str) -> NDArray[np.uint8] | None:
        try:
            return read_preprocessed(root, path, config, max_megapixels=max_megapixels)[0]
        except UnreadableImageError:
            return None

    return seen
