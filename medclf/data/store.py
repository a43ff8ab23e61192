"""Every image decoded and preprocessed once, in one file of bytes that all runs share."""

import hashlib
import json
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
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from medclf.config.schema import Dataset
from medclf.data.preprocessing import preprocess
from medclf.data.reading import UnreadableImageError, decode
from medclf.data.table import ImageTable
from medclf.errors import DataError

FORMAT = 1
"""Changes when the same config would give other bytes than before."""
CHUNK = 64


class ImageStore:
    """Preprocessed images in a memory-mapped .npy file of uint8, shape (images, channels, size, size).

    Only the path is sent to another process, which maps the file itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images: NDArray[np.uint8] | None = None

    @property
    def images(self) -> NDArray[np.uint8]:
        """The mapped array, read-only."""
        if self._images is None:
            self._images = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return self._images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        """One image, uint8, shape (channels, size, size): a copy."""
        return torch.from_numpy(np.array(self.images[row]))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_images": None}

    def statistics(self, rows: Sequence[int]) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over some images, as shares of 255."""
        total, squares = np.zeros(self.images.shape[1]), np.zeros(self.images.shape[1])
        for begin in range(0, len(rows), CHUNK):
            pixels = self.images[list(rows[begin : begin + CHUNK])].astype(np.float64) / 255
            total += pixels.mean((2, 3)).sum(0)
            squares += (pixels**2).mean((2, 3)).sum(0)
        mean = total / len(rows)
        return mean.tolist(), np.sqrt(np.maximum(squares / len(rows) - mean**2, 1e-12)).tolist()


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
    size, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
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
    np.lib.format.write_array_header_1_0(file, header)
    # a JPEG need not be decoded larger than twice the square, unless its contrast is equalised at full size
    at_least = None if config.clahe else 2 * config.image_size
    cv2.setNumThreads(1)  # the pool's threads are enough

    def load(path: str) -> bytes | str:
        try:
            return preprocess(decode(root, path, config.channels == 1, at_least), config).tobytes()
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
