"""What can be known of a dataset from the names of its files, in well under a second."""

from pathlib import Path

from medclf.config.command_schemas import PrepareConfig
from medclf.config.consistency_validation import validate_loss, validate_monitor, validate_positive
from medclf.config.schema import TrainConfig
from medclf.data.sources.discovery import find_images, image_root, is_extracted, validate_classes
from medclf.data.splits import expected_train_images, validate_batch_size
from medclf.utils.errors import ConfigError
from medclf.utils.run_folder import is_used


def validate_image_files(config: TrainConfig) -> None:
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
    validate_classes(found, dataset)
    validate_positive("dataset.positive", dataset.positive, found.classes)
    validate_monitor("monitor", config.monitor, found.classes)
    validate_loss(config.loss, config.model, found.classes)
    validate_batch_size(dataset, expected_train_images(found, dataset))


def validate_export_folder(config: PrepareConfig) -> None:
    """Refuse an export folder that is used, or in which the dataset's own images are looked for.

    Raises:
        ConfigError: naming both folders.
    """
    if config.export is None:
        return
    folder, dataset = Path(config.export), config.dataset
    try:
        used = is_used(folder)
        inside = any(
            folder.resolve().is_relative_to(root.resolve()) for root in (Path(dataset.root), image_root(dataset))
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "invalid path"
        raise ConfigError(f"export={config.export[:100]}: cannot be written: {reason}; name another folder") from error
    if used:
        raise ConfigError(
            f"export={config.export}: already holds something, and nothing is overwritten; name a new folder"
        )
    if inside:
        raise ConfigError(
            f"export={config.export}: lies in dataset.root={dataset.root}, so that the exported images would become "
            "images of the dataset; name a folder elsewhere: export=FOLDER"
        )
