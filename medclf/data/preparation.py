"""Making a dataset ready: fetched where it can be, extracted, looked at, and its image store built."""

import logging
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from medclf.config.command_schemas import PrepareConfig
from medclf.config.schema import DatasetConfig
from medclf.data.build_image_table import load_image_table
from medclf.data.image_cache import ImageCache, open_image_cache
from medclf.data.image_table import COLUMNS, ImageTable
from medclf.utils.atomic_write import atomic_folder, remove_abandoned
from medclf.utils.errors import DataError
from medclf.utils.file_names import distinct_file_names, safe_file_name
from medclf.utils.write_errors import format_unwritable

log = logging.getLogger(__name__)


def prepare_dataset(config: PrepareConfig, folder: Path) -> None:
    """Download where that is possible and needed, extract, look at the images, build the store, export where asked.

    Args:
        config: the dataset, whether to download, where to export.
        folder: gets ``splits.csv``.

    Raises:
        DataError: for what is missing or wrong; the message says where to get the dataset.
    """
    dataset = config.dataset
    if config.download and dataset.kaggle is not None and not Path(dataset.root).exists():
        download(dataset)
    table = load_image_table(dataset)
    table.save(folder / "splits.csv")
    log.info("Dataset %s from %s, split %s\n%s", dataset.name, table.root, table.digest(), table.counts())
    for note in table.notes:
        log.info(note)
    store = open_image_cache(table, dataset)
    log.info("Image store: %s (%d images, %.1f MB)", store.path, len(store), store.path.stat().st_size / 1e6)
    if config.export is not None:
        export(table, store, Path(config.export))
        log.info("Exported to %s", config.export)


def download(config: DatasetConfig) -> None:
    """Fetch a dataset from Kaggle into its root, whole or not at all.

    Raises:
        DataError: when kagglehub is not installed or the set cannot be had, with how to get it by hand.
    """
    root = Path(config.root)
    by_hand = f"fetch it by hand from {config.source} and extract it to {root.absolute()} (expected: {config.layout})"
    try:
        import kagglehub
    except ImportError as error:
        raise DataError(
            f'downloading needs kagglehub: python -m pip install "medclf[download]"; or {by_hand}'
        ) from error
    log.info("Downloading %s from Kaggle", config.kaggle)
    try:
        fetched = Path(kagglehub.dataset_download(config.kaggle))
    except Exception as error:  # kagglehub raises many kinds: no network, no account, no such set
        raise DataError(f"{config.kaggle} cannot be downloaded ({error}); {by_hand}") from error
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root.parent, re.escape(root.name))
    try:
        with atomic_folder(root) as aside:
            shutil.copytree(fetched, aside, dirs_exist_ok=True)
    except OSError as error:
        raise DataError(format_unwritable("dataset.root", root, error)) from error


def export(table: ImageTable, store: ImageCache, folder: Path) -> None:
    """Write the prepared images as ``{train,val,test}/CLASS/NAME.png``; names that occur twice get a number.

    What no file name may hold is replaced in class and image names, so that nothing is written outside the folder.

    Raises:
        DataError: when the folder cannot be written.
    """
    taken: set[Path] = set()
    names = distinct_file_names(table.classes)
    for label, name in names.items():
        if label != name:
            log.info("Class %s is exported to folders named %s", label, name)
    rows = table.frame[list(COLUMNS)].itertuples(index=False, name=None)
    try:
        for row, (name, label, _, split) in enumerate(tqdm(rows, "Exporting", len(table.frame), leave=False)):
            path = _free_name(folder / split / names[label], name, taken)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = store[row].numpy().transpose(1, 2, 0).squeeze()
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    except OSError as error:
        raise DataError(format_unwritable("export", folder, error)) from error


def _free_name(folder: Path, name: str, taken: set[Path]) -> Path:
    stem = Path(name).name.replace("#", "_") if "#" in name else Path(name).stem
    stem = safe_file_name(stem)
    path, number = folder / f"{stem}.png", 1
    while path in taken or path.exists():  # on file systems that ignore case, another name is the same file
        number += 1
        path = folder / f"{stem} {number}.png"
    taken.add(path)
    return path
