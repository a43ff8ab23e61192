"""MedMNIST (Yang et al., Scientific Data 2023): one .npz file with images and labels of its three splits.

The archive is extracted once to .npy files, which are memory-mapped: nothing is loaded whole, nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from medclf.config.schema import DatasetConfig, SplitName
from medclf.data.sources.records import FoundImage, FoundImages
from medclf.utils.errors import DataError, format_list
from medclf.utils.regular_files import special_kind

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def find_array_images(root: Path, config: DatasetConfig) -> FoundImages:
    """Find the images of the arrays below root; an image's path is ``train_images.npy#INDEX``.

    Raises:
        DataError: for a missing array, one of pickled objects or of another shape, and more than one label an image.
    """
    labels = {split: _labels(root, split) for split in SPLITS}
    numbers = sorted({int(label) for values in labels.values() for label in values})
    if numbers[0] < 0 or (config.classes is None and numbers != list(range(len(numbers)))):
        raise DataError(f"dataset.root={config.root}: has the labels {format_list(numbers)}; they should be 0, 1, 2, …")
    classes = config.classes or [str(number) for number in numbers]
    if numbers[-1] >= len(classes):
        raise DataError(
            f"dataset.root={config.root}: has labels up to {numbers[-1]}, but {len(classes)} classes are named"
        )
    images = [
        FoundImage(path, classes[int(label)], path, split)
        for split, values in labels.items()
        for index, label in enumerate(values)
        for path in [f"{split}_images.npy#{index}"]
    ]
    return FoundImages(images, classes)


def _labels(root: Path, split: SplitName) -> NDArray[np.integer[Any]]:
    images, labels = load_array(root / f"{split}_images.npy"), load_array(root / f"{split}_labels.npy")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(
            f"{root}: {split}_images has shape {images.shape} and type {images.dtype}; expected uint8 images"
        )
    if not images.size:
        raise DataError(f"{root}: {split}_images has shape {images.shape} and holds no image")
    if labels.ndim == 0 or labels.size != len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{root}: {split}_labels has shape {labels.shape}; expected one whole number an image")
    if len(labels) != len(images):
        raise DataError(f"{root}: {split}_images holds {len(images)} images, {split}_labels {len(labels)} labels")
    return np.asarray(labels.reshape(-1))


def load_array(path: Path) -> NDArray[Any]:
    """Memory-map an array file.

    Raises:
        DataError: when it is not a regular file, is damaged, holds pickled objects, or less than its header says.
    """
    if kind := special_kind(path):
        raise DataError(f"{path}: {kind}, not a file; replace it with an array file, or remove it")
    if not path.is_file():
        present = format_list(sorted(file.name for file in path.parent.glob("*.npy")))
        raise DataError(f"{path}: there is no such array; arrays there: {present or 'none'}")
    try:
        with np.errstate(over="ignore"):  # of a shape that no file has
            return open_memmap(path, mode="r")
    except Exception as error:  # NumPy's parser raises many kinds for a damaged header
        raise DataError(f"{path}: cannot be read as an array; it is damaged or holds Python objects") from error
