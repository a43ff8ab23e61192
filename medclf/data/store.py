"""Every image decoded and preprocessed once, in one file of bytes that all runs share."""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from medclf.config.schema import Dataset
from medclf.data.pixels import UnreadableImageError
from medclf.data.preprocessing import enough, read_preprocessed
from medclf.data.table import ImageTable
from medclf.errors import DataError

FORMAT = 1
"""Changes when the same config would give other bytes than before."""
CHUNK = 64


class ImageStore:
    """Preprocessed images in one .npy file of uint8, shape (images, channels, size, size).

    ``numpy.load(path, mmap_mode="r")`` maps it whole. Here an image is read by its offset, so that what has been
    read is the system's cache and not this process's memory, which stays the same for any number of images.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        images: np.memmap[Any, np.dtype[np.uint8]] = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape: tuple[int, ...] = images.shape
        self._begin = images.offset

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> Tensor:
        """One image, uint8, shape (channels, size, size)."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        size = math.prod(self.shape[1:])
        pixels = np.fromfile(self.path, dtype=np.uint8, count=size, offset=self._begin + row * size)
        return torch.from_numpy(pixels.reshape(self.shape[1:]))

    def statistics(self, rows: Sequence[int]) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over some images, as shares of 255."""
        total, squares = torch.zeros(self.shape[1]).double(), torch.zeros(self.shape[1]).double()
        for row in rows:
            pixels = self[row].double() / 255
            total += pixels.mean((1, 2))
            squares += pixels.square().mean((1, 2))
        mean = total / len(rows)
        return mean.tolist(), (squares / len(rows) - mean.square()).clamp(min=1e-12).sqrt().tolist()


def open_store(table: ImageTable, config: Dataset, progress: bool = True) -> ImageStore:
    """The store of a table's images, in the order of its rows; built where it is not there.

    Its name holds a hash of the images' content and of the preprocessing: another image or another option is another
    file. It is written aside and moved in one step, so that neither an interruption nor a second process does harm.

    Raises:
        DataError: for an image that cannot be read, and a full or read-only disk.
    """
    path = Path(config.store) / f"{config.name}_{_key(table, config)}.npy"
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _build(path, table, config, progress)
        except OSError as error:
            raise DataError(f"dataset.store={config.store}: cannot be written: {error}; name another folder") from error
    return ImageStore(path)


def _key(table: ImageTable, config: Dataset) -> str:
    options = config.model_dump(include={"image_size", "channels", "resize", "clahe"})
    content = json.dumps([FORMAT, options, table.content], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _build(path: Path, table: ImageTable, config: Dataset, progress: bool) -> None:
    paths = list(table.frame["path"])
    shape = (len(paths), config.channels, config.image_size, config.image_size)
    size, free = math.prod(shape), shutil.disk_usage(path.parent).free
    if size > free:
        raise DataError(
            f"dataset.store={config.store}: {size / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free; make "
            "room or name a folder on another disk"
        )
    handle, aside = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _write_images(file, paths, shape, table.root, config, progress)
        Path(aside).chmod(0o644)  # mkstemp makes it for its owner alone
        Path(aside).replace(path)
    finally:
        Path(aside).unlink(missing_ok=True)


def _write_images(
    file: Any, paths: list[str], shape: tuple[int, ...], root: Path, config: Dataset, progress: bool
) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    npy: Any = np.lib.format  # typed in some of NumPy's releases only
    npy.write_array_header_1_0(file, header)
    at_least = enough(config)
    cv2.setNumThreads(1)  # the pool's threads are enough

    def load(path: str) -> bytes | str:
        try:
            return read_preprocessed(root, path, config, at_least, max_megapixels=config.max_megapixels)[0].tobytes()
        except UnreadableImageError as error:
            return f"{path}: {error}"

    bar = tqdm(total=len(paths), desc="Preparing images", disable=not progress, leave=False)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for begin in range(0, len(paths), CHUNK):
            chunk = paths[begin : begin + CHUNK]
            for content in pool.map(load, chunk):
                if isinstance(content, str):
                    raise DataError(f"dataset.root={root}: cannot be read: {content}")
                file.write(content)
            bar.update(len(chunk))
