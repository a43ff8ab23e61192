"""What can be known of a dataset from the names of its files, in well under a second."""

from pathlib import Path

from medclf.config.checks import check_loss, check_monitor, check_positive
from medclf.config.schema import Config
from medclf.data.sources.find import find_images, is_extracted
from medclf.data.splits import check_batch_size, expected_train_images


def check_images(config: Config) -> None:
    """Look at names and counts of the images, not into them, and refuse what cannot be trained on.

    Raises:
        DataError: for what is wrong in the folder.
        ConfigError: for a setting that does not fit the images found.
    """
    dataset = config.dataset
    if dataset.phantom is not None and not Path(dataset.root).exists():
        return  # it is made when the run begins
    if not is_extracted(dataset):
        return  # so is an archive extracted
    found = find_images(dataset)
    check_positive("dataset.positive", dataset.positive, found.classes)
    check_monitor("monitor", config.monitor, found.classes)
    check_loss(config.loss, config.model, found.classes)
    check_batch_size(dataset, expected_train_images(found, dataset))
