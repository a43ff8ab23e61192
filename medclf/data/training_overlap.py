"""Whether images that a model is tested on elsewhere are among those that it was trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.data.duplicates import find_duplicates
from medclf.data.image_fingerprints import Fingerprint
from medclf.data.image_table import ImageTable
from medclf.utils.atomic_write import write_csv
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import DataError

PERCEPTUAL_HASH = "[0-9a-f]{64}"


def save_fingerprints(prints: Sequence[Fingerprint], table: ImageTable, path: Path) -> None:
    """Write path, split and hashes of each image of a run as CSV, ``prints`` being in the order of the table."""
    hashes = {"sha256": [p.sha256 for p in prints], "perceptual_hash": [p.perceptual for p in prints]}
    write_csv(path, table.frame[["path", "split"]].assign(**hashes))


def join_fingerprints(paths: Sequence[Path], path: Path) -> None:
    """Write those of all images that any of several runs has had; nothing where one of the runs brings none."""
    if all(one.is_file() for one in paths):
        found = [read_fingerprints(one) for one in paths]
        write_csv(path, pd.concat(found).drop_duplicates())


def read_fingerprints(path: Path) -> pd.DataFrame:
    """Read what ``save_fingerprints`` wrote of a run: columns path, split, sha256, perceptual_hash.

    Raises:
        DataError: if the file is not such a table, or a perceptual hash is not one.
    """
    table = read_frame(path, ["path", "split", "sha256", "perceptual_hash"])
    wrong = table.index[~table["perceptual_hash"].str.fullmatch(PERCEPTUAL_HASH)]
    if len(wrong):
        raise DataError(f"{path}, row {wrong[0] + 2}: perceptual_hash must have 64 hexadecimal digits")
    return table


def get_fingerprints(table: pd.DataFrame) -> list[Fingerprint]:
    """Return the hashes in each row of a fingerprints table."""
    return [Fingerprint(sha, perceptual=hashed) for sha, hashed in table[["sha256", "perceptual_hash"]].to_numpy()]


def find_training_overlap(prints: Sequence[Fingerprint], known: pd.DataFrame, near: int | None) -> NDArray[np.bool_]:
    """Return whether each image equals, or looks like, a known one.

    Args:
        prints: of the images, readable ones.
        known: rows of what ``read_fingerprints`` gives.
        near: bits of 256 by which perceptual hashes may differ; None: only equal files count.
    """
    own = get_fingerprints(known)
    pairs = find_duplicates([*own, *prints], near).pairs
    found = np.zeros(len(prints), bool)
    # of a file that occurs several times, each is paired with the first alone, which the model's own are
    across = (pairs[:, 0] < len(own)) & (pairs[:, 1] >= len(own))
    found[pairs[across, 1] - len(own)] = True
    return found
