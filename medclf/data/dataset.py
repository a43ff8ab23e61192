"""From the config of group ``dataset`` to its image table."""

from pathlib import Path

from medclf.config.checks import check_monitor, check_positive
from medclf.config.schema import Config, Dataset
from medclf.data.folders import find_images
from medclf.data.phantom import ensure_phantom
from medclf.data.splits import check_batch_size, expected_train_images, split_images
from medclf.data.table import ImageTable


def check_images(config: Config) -> None:
    """Look at names and counts of the images, not into them, and refuse what cannot be trained on.

    Raises:
        DataError: for what is wrong in the folder.
        ConfigError: for a setting that does not fit the images found.
    """
    dataset = config.dataset
    if dataset.phantom is not None and not Path(dataset.root).exists():
        return  # it is made when the run begins
    found = find_images(dataset)
    check_positive(dataset.positive, found.classes)
    check_monitor("monitor", config.monitor, found.classes)
    check_batch_size(dataset, expected_train_images(found, dataset))


def load_image_table(config: Dataset) -> ImageTable:
    """Find the images of a dataset and split them; the phantom is made first where it is not there.

    Raises:
        DataError, ConfigError: as find_images and split_images.
    """
    if config.phantom is not None:
        ensure_phantom(Path(config.root), config.phantom)
    return split_images(find_images(config), config)
