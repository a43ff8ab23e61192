"""The same picture twice: in equal files, or in others that look alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from medclf.data.image_fingerprints import Fingerprint
from medclf.utils.errors import DataError

BLOCK = 64
MOST_PAIRS = 10_000_000
"""Pairs of images that look alike. Each takes about 120 bytes where they are used, so all take 1.2 GB at most."""
Pairs = NDArray[np.int64]
"""Pairs of rows, shape (pairs, 2), the smaller row first."""


@dataclass(frozen=True)
class DuplicateGroups:
    """Pairs of images of one picture: ``exact`` in equal files, ``near`` in others with like perceptual hashes."""

    exact: Pairs
    near: Pairs

    @property
    def pairs(self) -> Pairs:
        """Return all pairs."""
        return np.concatenate([self.exact, self.near])

    def among(self, kept: Sequence[bool]) -> "DuplicateGroups":
        """Return the pairs of images that are kept, by their rows among the kept ones."""
        row = np.where(kept, np.cumsum(kept) - 1, -1)
        exact, near = (row[pairs] for pairs in (self.exact, self.near))
        return DuplicateGroups(exact[(exact >= 0).all(1)], near[(near >= 0).all(1)])

    def exact_and(self, others: list[list[int]]) -> Pairs:
        """Return the exact pairs together with others."""
        return np.concatenate([self.exact, np.array(others, dtype=np.int64).reshape(-1, 2)])


def find_duplicates(prints: Sequence[Fingerprint], near: int | None) -> DuplicateGroups:
    """Compare all images with all others.

    Args:
        prints: of readable images.
        near: bits of 256 by which perceptual hashes may differ; None: only equal files count.

    Raises:
        DataError: if over ``MOST_PAIRS`` pairs look alike: memory grows with their number.
    """
    _, content = np.unique([image.sha256 for image in prints], return_inverse=True)
    exact = _equal_pairs(content)
    if near is None or not prints:
        return DuplicateGroups(exact, np.empty((0, 2), dtype=np.int64))
    return DuplicateGroups(exact, _near_pairs(_words(prints), content, near))


def hamming_distance(one: Fingerprint, other: Fingerprint) -> int:
    """Bits of 256 by which two perceptual hashes differ."""
    return (int(one.perceptual, 16) ^ int(other.perceptual, 16)).bit_count()


def link_groups(groups: Sequence[str], pairs: Pairs) -> list[str]:
    """Groups joined by pairs of images: each gets the first name, in order, of those it is joined with.

    Args:
        groups: of each image.
        pairs: rows of images that belong together.
    """
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    edges = group[pairs]
    matrix = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(matrix, directed=False)
    _, first = np.unique(component, return_index=True)
    return [str(names[first[component[index]]]) for index in group]


def _equal_pairs(values: NDArray[np.int64]) -> Pairs:
    """Each value's first row with each later one."""
    order = np.argsort(values, kind="stable")
    starts = np.unique(values[order], return_index=True)[1]
    first = np.repeat(order[starts], np.diff([*starts, len(order)]))
    pairs: Pairs = np.stack([first, order], 1)[first != order]
    return pairs


def _words(prints: Sequence[Fingerprint]) -> NDArray[np.uint64]:
    return np.array(
        [[int(image.perceptual[at : at + 16], 16) for at in range(0, 64, 16)] for image in prints], np.uint64
    )


def _near_pairs(words: NDArray[np.uint64], content: NDArray[np.int64], near: int) -> Pairs:
    """Return the pairs of images in different files whose hashes differ by so many bits at most."""
    found: list[Pairs] = [np.empty((0, 2), dtype=np.int64)]
    count = 0
    for begin in range(0, len(words), BLOCK):
        block = words[begin : begin + BLOCK]
        alike = _distances(block, words[begin:]) <= near
        alike &= content[begin : begin + BLOCK, None] != content[None, begin:]
        row, other = np.nonzero(alike)
        found.append(np.asarray(np.stack([row, other], 1)[other > row] + begin, dtype=np.int64))
        count += len(found[-1])
        if count > MOST_PAIRS:
            raise DataError(
                f"over {MOST_PAIRS:,} pairs of images look alike, as blank or nearly blank ones do; remove those, or "
                "compare equal files only: dataset.duplicates.near=null"
            )
    return np.concatenate(found)


def _distances(block: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint16]:
    distance = np.zeros((len(block), len(words)), dtype=np.uint16)
    for word in range(words.shape[1]):
        distance += np.bitwise_count(block[:, None, word] ^ words[None, :, word])
    return distance
