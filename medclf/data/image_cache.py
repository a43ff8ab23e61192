"""Every image decoded and preprocessed once, in one file of bytes that all runs share."""

import hashlib
import json
import logging
import math
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from medclf.config.schema import DatasetConfig
from medclf.data.checksummed_array import ChecksummedArray, DamagedArrayError, write_checksummed
from medclf.data.decoding_budget import decoding_memory
from medclf.data.image_fingerprints import forget_fingerprint
from medclf.data.image_io import read_bytes
from medclf.data.image_table import ImageTable
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.data.preprocessing import read_preprocessed, smallest_sufficient_side
from medclf.utils.atomic_write import atomic_file, remove_abandoned
from medclf.utils.errors import DataError
from medclf.utils.write_errors import format_unwritable

log = logging.getLogger(__name__)
FORMAT = 1
"""Changes when the same config would give other bytes than before."""
CHUNK = 64
UNFINISHED = r".+_[0-9a-f]{16}(\.npy)?"
"""Names of the files that a store holds, images and features, as ``remove_abandoned`` takes them."""


@dataclass(frozen=True)
class ImageSource:
    """The image files that a store is built from: paths below ``root``, and the SHA-256 of each file where known."""

    root: Path
    paths: list[str]
    sha256: list[str]
    config: DatasetConfig

    def load(self, row: int) -> NDArray[np.uint8]:
        """Decode and preprocess one image, to shape (channels, size, size).

        Raises:
            DataError: if it cannot be read, or is not the file whose hash is known.
        """
        path = self.paths[row]
        try:
            with decoding_memory():  # the memory of large images is shared by the threads
                return self._loaded(row)
        except UnreadableImageError as error:
            raise DataError(f"dataset.root={self.root}: cannot be read: {path}: {error}") from error

    def _loaded(self, row: int) -> NDArray[np.uint8]:
        path, config = self.paths[row], self.config
        most = config.max_megapixels
        content = read_bytes(self.root, path, most)
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256[row]:
            forget_fingerprint(self.root, path, Path(config.store))
            raise DataError(f"dataset.root={self.root}: {path} changed while it was being read; start again")
        return read_preprocessed(self.root, path, config, smallest_sufficient_side(config), content, most)[0]


class ImageCache:
    """Preprocessed images in one .npy file of uint8, shape (images, channels, size, size), with checksums.

    ``numpy.load(path, mmap_mode="r")`` maps it whole. Here an image is read by its offset, so that the memory of this
    process stays the same for any number of images. An image that is damaged is decoded again.

    Args:
        path: of the file.
        source: of the images; None: a damaged image is an error.

    Raises:
        DamagedArrayError: for a file that is not what was written.
    """

    def __init__(self, path: Path, source: ImageSource | None = None) -> None:
        self.path = path
        self._array = ChecksummedArray(path, np.uint8)
        self.shape = self._array.shape
        self._source = source

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> Tensor:
        """Return one image, uint8, shape (channels, size, size)."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        try:
            pixels = self._array.read(row)
        except FileNotFoundError as error:
            raise DataError(f"{self.path}: was removed while it was in use; start again, or resume the run") from error
        except DamagedArrayError as error:
            pixels = self._restored(row, error)
        return torch.from_numpy(pixels)

    def _restored(self, row: int, error: DamagedArrayError) -> NDArray[np.uint8]:
        """Decode a damaged image again, and repair the file where that is possible."""
        pixels = None if self._source is None else np.ascontiguousarray(self._source.load(row))
        if self._source is None or pixels is None or not self._array.is_row(row, pixels):
            remove = shlex.join(["rm", str(self.path)])
            raise DataError(f"{error}; it is safe to delete and will be built again: {remove}") from error
        log.warning("Image cache: %s. %s is decoded again.", error, self._source.paths[row])
        with suppress(OSError), self.path.open("r+b") as file:
            file.seek(self._array.offset + row * self._array.row_bytes)
            file.write(pixels.tobytes())
        return pixels

    def statistics(self, rows: Sequence[int]) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over some images, as shares of 255."""
        total, squares = torch.zeros(self.shape[1]).double(), torch.zeros(self.shape[1]).double()
        for row in rows:
            pixels = self[row].double() / 255
            total += pixels.mean((1, 2))
            squares += pixels.square().mean((1, 2))
        mean = total / len(rows)
        return mean.tolist(), (squares / len(rows) - mean.square()).clamp(min=1e-12).sqrt().tolist()


def open_image_cache(table: ImageTable, config: DatasetConfig, progress: bool = True) -> ImageCache:
    """Open the store of a table's images, in the order of its rows; it is built if it is not there or damaged.

    Its name holds a hash of the images' content and of the preprocessing: another image or another option is another
    file. It is written under a temporary name and renamed when complete, so that neither an interruption nor a second
    process does harm. Unfinished files of processes that no longer run are removed.

    Raises:
        DataError: for an image that cannot be read or has changed, and a full or read-only disk.
    """
    path = Path(config.store) / f"{config.name}_{_key(table, config)}.npy"
    source = ImageSource(table.root, list(table.frame["path"]), table.content, config)
    for leftover in remove_abandoned(path.parent, UNFINISHED):
        log.info("Removed %s, which a process that no longer runs left unfinished.", leftover)
    if path.is_file():
        try:
            return ImageCache(path, source)
        except DamagedArrayError as error:
            log.warning("Image cache: %s. It is built again.", error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _build(path, source, progress)
    except OSError as error:
        raise DataError(format_unwritable("dataset.store", config.store, error)) from error
    return ImageCache(path, source)


def _key(table: ImageTable, config: DatasetConfig) -> str:
    options = config.model_dump(include={"image_size", "channels", "resize", "clahe"})
    content = json.dumps([FORMAT, options, table.content], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _build(path: Path, source: ImageSource, progress: bool) -> None:
    config = source.config
    shape = (len(source.paths), config.channels, config.image_size, config.image_size)
    size, free = math.prod(shape), shutil.disk_usage(path.parent).free
    if size > free:
        raise DataError(
            f"dataset.store={config.store}: {size / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free; make "
            "room or name a folder on another disk: dataset.store=FOLDER"
        )
    with atomic_file(path) as file:
        write_checksummed(file, shape, np.uint8, _images(source, progress))


def _images(source: ImageSource, progress: bool) -> Iterator[bytes]:
    cv2.setNumThreads(1)  # the pool's threads are enough
    count = len(source.paths)
    bar = tqdm(total=count, desc="Preparing images", disable=not progress, leave=False)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for begin in range(0, count, CHUNK):
            rows = range(begin, min(begin + CHUNK, count))
            yield from pool.map(lambda row: source.load(row).tobytes(), rows)
            bar.update(len(rows))
