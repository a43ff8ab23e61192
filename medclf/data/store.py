"""Every image of a run, decoded once and kept in memory as bytes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from medclf.data.reading import UnreadableImageError, read_image
from medclf.errors import DataError


def load_images(root: Path, paths: Sequence[str], size: int, channels: int, progress: bool = True) -> Tensor:
    """Decode images in parallel, before the first epoch, so that a damaged one is known then.

    Args:
        root: folder that the paths are below.
        paths: one for each image.
        size: side in pixels.
        channels: 1 for grey, 3 for colour.
        progress: whether to show a bar.

    Returns:
        uint8 tensor of shape (len(paths), channels, size, size).

    Raises:
        DataError: naming the files that cannot be read, and why.
    """
    images = torch.empty((len(paths), channels, size, size), dtype=torch.uint8)
    failed: list[str] = []

    def load(index: int) -> None:
        try:
            images[index] = torch.from_numpy(read_image(root / paths[index], size, channels))
        except UnreadableImageError as error:
            failed.append(f"{paths[index]}: {error}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        indices = range(len(paths))
        for _ in tqdm(pool.map(load, indices), "Reading images", len(paths), disable=not progress, leave=False):
            pass
    if failed:
        lines = "\n  ".join(sorted(failed)[:20])
        more = f"\n  and {len(failed) - 20} more" if len(failed) > 20 else ""
        raise DataError(
            f"dataset.root={root}: {len(failed)} of {len(paths)} images cannot be read; mend or remove them, or leave "
            f"them out by dataset.exclude=[PATTERN]:\n  {lines}{more}"
        )
    return images
