"""What a frozen backbone makes of each image, computed once for all epochs and for all runs that share it."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from medclf.data.augmentation_views import Views
from medclf.data.checksummed_array import CheckedArray, DamagedArrayError, write_checked
from medclf.data.datamodule import ImageDataset
from medclf.models.network import Network
from medclf.utils.atomic_write import written_whole
from medclf.utils.errors import DataError
from medclf.utils.write_errors import unwritable

log = logging.getLogger(__name__)
FORMAT = 3
"""Changes when the same key would give other features than before."""
BATCH = 32
"""Images at a time: more make a CPU slower."""


def open_features(
    images: ImageDataset,
    views: Views | None,
    network: Network,
    compute: Callable[[Tensor], Tensor],
    arithmetic: str,
    folder: Path,
    progress: bool = True,
) -> NDArray[np.float32]:
    """The features of a split's images, computed where they are not on disk, shape (views, images, features).

    The file's name holds a hash of all that they depend on: the backbone's weights, the images and their preprocessing,
    the views and the arithmetic. It is written whole, so that runs may share it, and checked when it is opened.

    Args:
        images: of the split.
        views: of each image; None: the image as it is.
        network: whose backbone it is, frozen.
        compute: takes a batch of images, gives their features; ``network.features`` or what does the same faster.
        arithmetic: names the precision and the engine of ``compute``.
        folder: where it is kept.
        progress: whether a bar is shown.

    Raises:
        DataError: when the disk is full or cannot be written.
    """
    path = folder / f"features_{_key(images, views, network, arithmetic)}.npy"
    if path.is_file():
        try:
            return _opened(path)
        except DamagedArrayError as error:
            log.warning("Features: %s. They are computed again.", error)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        features = _computed(images, views, compute, progress)
        with written_whole(path) as file:
            write_checked(file, features.shape, np.float32, (view.tobytes() for view in features))
    except OSError as error:
        raise DataError(unwritable("dataset.store", folder, error)) from error
    return _opened(path)


def _opened(path: Path) -> NDArray[np.float32]:
    CheckedArray(path, np.float32).check_rows()
    features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _key(images: ImageDataset, views: Views | None, network: Network, arithmetic: str) -> str:
    seen = hashlib.sha256(np.asarray(images.rows, np.int64).tobytes())
    facts = [FORMAT, images.store.path.name, seen.hexdigest(), views.name if views else "", arithmetic]
    return hashlib.sha256(json.dumps([*facts, backbone_digest(network)]).encode()).hexdigest()[:16]


def backbone_digest(network: Network) -> str:
    """Tells whether two backbones give the same features: of its modules, weights and statistics, and the scaling."""
    digest = hashlib.sha256(repr(network.backbone).encode())
    tensors = {**network.backbone.state_dict(), "mean": network.mean, "sd": network.sd}
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _computed(
    images: ImageDataset, views: Views | None, compute: Callable[[Tensor], Tensor], progress: bool
) -> NDArray[np.float32]:
    count = 1 if views is None else views.count
    jobs = [(view, at) for view in range(count) for at in range(len(images))]
    parts = []
    with tqdm(total=len(jobs), desc="Computing features", disable=not progress, leave=False) as bar:
        for begin in range(0, len(jobs), BATCH):
            chunk = jobs[begin : begin + BATCH]
            pixels = [_view(images, views, view, at) for view, at in chunk]
            parts.append(compute(torch.stack(pixels)).float().cpu().numpy())
            bar.update(len(chunk))
    return np.concatenate(parts).reshape(count, len(images), -1)


def _view(images: ImageDataset, views: Views | None, view: int, at: int) -> Tensor:
    image = images.store[images.rows[at]]
    return image if views is None else views.make(image, view, images.rows[at])
