from pathlib import Path

from medclf.config.schema import Dataset
from medclf.data.folders import find_images
from medclf.data.phantom import ensure_phantom
from medclf.data.splits import split_images
from medclf.data.table import ImageTable


def load_image_table(config: Dataset) -> ImageTable:
    """Find the images of a dataset and split them; the phantom is made first where it is not there.

    Raises:
        DataError, ConfigError: as find_images and split_images.
    """
    if config.phantom is not None:
        ensure_phantom(Path(config.root), config.phantom)
    return split_images(find_images(config), config)
