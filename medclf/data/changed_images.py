"""Whether images are still the files that a run had."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from medclf.data.decoding_budget import decoding
from medclf.data.image_io import read_bytes
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import DataError, listed
from medclf.utils.file_limits import HIGHEST_MAX_MEGAPIXELS

PATIENCE = 5
"""Seconds before a bar is shown."""


def refuse_changed(root: Path, paths: Sequence[str], prints: Path) -> None:
    """Refuse images that are not there any more, or are other files than those that a run had.

    Args:
        root: folder that the paths are below.
        paths: of the run's images.
        prints: what ``medclf.data.training_overlap.save_fingerprints`` wrote of the run.

    Raises:
        DataError: with how many there are, and some of them.
    """
    if not prints.is_file():
        raise DataError(f"{prints}: is not there, so nobody can tell whether the images are still those of the run")
    known = read_frame(prints, ["path", "sha256"]).groupby("path")["sha256"].agg(set).to_dict()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(lambda path: _sha256(root, path), paths)
        now = list(tqdm(hashes, "Checking images", len(paths), leave=False, delay=PATIENCE))
    _refuse([path for path, sha in zip(paths, now, strict=True) if sha is None], len(paths), root, "are not there")
    changed = [path for path, sha in zip(paths, now, strict=True) if known.get(path) != {sha}]
    _refuse(changed, len(paths), root, "are other files than those that the run had")


def _refuse(wrong: list[str], count: int, root: Path, how: str) -> None:
    if wrong:
        raise DataError(f"{root}: {len(wrong)} of the {count} images to be predicted again {how}: {listed(wrong, 3)}")


def _sha256(root: Path, path: str) -> str | None:
    try:
        with decoding():
            return hashlib.sha256(read_bytes(root, path, HIGHEST_MAX_MEGAPIXELS)).hexdigest()
    except UnreadableImageError:
        return None
