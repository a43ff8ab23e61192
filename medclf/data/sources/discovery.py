import logging
import shlex
from pathlib import Path

from medclf.config.schema import DatasetConfig
from medclf.data.sources import csv_table, folders, medmnist
from medclf.data.sources.archive import extract_to, find_archive, has_record, validate_extracted
from medclf.data.sources.records import FoundImages
from medclf.utils.errors import DataError, format_list

log = logging.getLogger(__name__)
READERS = {
    "folders": folders.find_folder_images,
    "table": csv_table.find_table_images,
    "medmnist": medmnist.find_array_images,
}


def find_images(config: DatasetConfig) -> FoundImages:
    """Find the images of a dataset, its class, patient and given split with each.

    Raises:
        DataError: when there are none, or something about them is wrong: what, where, and how to mend it.
    """
    validate_root(config)
    return READERS[config.format](image_root(config), config)


def image_root(config: DatasetConfig) -> Path:
    """Return the folder that image paths are relative to: root, or where its archive is extracted."""
    archive = find_archive(config)
    return Path(config.root) if archive is None else archive.with_suffix("")


def is_extracted(config: DatasetConfig) -> bool:
    """Return whether the images can be looked at now, without extracting an archive first.

    Raises:
        DataError: if the archive has been replaced since it was extracted.
    """
    archive = find_archive(config)
    if archive is not None and image_root(config).is_dir():
        validate_extracted(archive, image_root(config))
    return archive is None or image_root(config).is_dir()


def validate_classes(found: FoundImages, config: DatasetConfig) -> None:
    """Refuse images of a single class, which nothing can be trained to tell apart.

    Raises:
        DataError: naming the class.
    """
    if len(found.classes) < 2:
        column = f"; if column '{config.table.label}' is the wrong one: dataset.table.label=COLUMN"
        raise DataError(
            f"dataset.root={config.root}: only one class, {format_list(found.classes)}; a classifier needs two or more"
            f"{column if config.format == 'table' else ''}"
        )


def extract_archive(config: DatasetConfig) -> None:
    """Extract the archive of a dataset to a folder next to it, once; nothing where there is none.

    Raises:
        DataError: if the archive is refused by ``extract``, or has been replaced since it was extracted.
    """
    archive = find_archive(config)
    if archive is None:
        return
    if not is_extracted(config):
        extract_to(archive, image_root(config))
        validate_extracted(
            archive, image_root(config)
        )  # what another process extracted first may be of another archive
    elif not has_record(image_root(config)):
        folder = image_root(config)
        again = f"rm -r {shlex.quote(str(folder))}"
        log.warning(
            "%s: is there already, so %s is not extracted; to extract it again: %s", folder, archive.name, again
        )


def validate_root(config: DatasetConfig) -> None:
    """Refuse a root that is not there, unless it is made on first use.

    Raises:
        DataError: with what was looked for, where the set can be had, and the key to set.
    """
    root = Path(config.root)
    if root.is_dir() or find_archive(config) is not None or (config.phantom is not None and not root.exists()):
        return
    what = "is a file, not a folder" if root.exists() else "there is no such folder"
    raise DataError(
        f"dataset.root={config.root}: {what} (looked for {root.absolute()}). "
        f"Expected in it: {config.layout or 'class folders'}. To be had from: {config.source or 'not stated'}. "
        "Then set dataset.root=FOLDER"
    )
