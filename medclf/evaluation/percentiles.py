"""Percentiles of many values that arrive in blocks, without keeping them all."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOW, HIGH = 0.025, 0.975
"""Quantiles that bound 95 % of the values."""


class Spread(NamedTuple):
    """The 2.5 and 97.5 percentiles of the values that are numbers, and the share of those that are none (NaN)."""

    low: float
    high: float
    missing: float


class Percentiles:
    """Collect rows of numbers and keep their tails, from which the percentiles follow exactly.

    The result equals that of ``np.nanpercentile`` on all rows together, to the last bit.

    Args:
        rows: number of rows that will be added at most.
    """

    def __init__(self, rows: int) -> None:
        self._kept = int(LOW * rows) + 2
        self._rows = 0
        self._missing: NDArray[np.int64] | None = None
        self._waiting: list[Floats] = []
        self._low: Floats | None = None
        self._high: Floats | None = None

    def add(self, block: Floats) -> None:
        """Add values of shape (some rows, columns)."""
        missing = np.isnan(block).sum(0)
        self._missing = missing if self._missing is None else self._missing + missing
        self._rows += len(block)
        self._waiting.append(block)
        if sum(map(len, self._waiting)) >= self._kept:
            self._fold()

    def spreads(self) -> list[Spread]:
        """Return the spread of each column; NaN twice where every value is missing."""
        self._fold()
        if self._low is None or self._high is None or self._missing is None:
            return []
        count = self._rows - self._missing
        places = [np.asarray(quantile * (count - 1), np.float64) for quantile in (LOW, HIGH)]
        low = _at(np.sort(self._low, axis=0), places[0], count, from_top=False)
        high = _at(np.sort(self._high, axis=0), places[1], count, from_top=True)
        shares = self._missing / self._rows
        return [Spread(*map(float, one)) for one in zip(low, high, shares, strict=True)]

    def _fold(self) -> None:
        """Merge the waiting rows into the tails; the upper one is kept with its signs turned, so that NaN stay last."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting = []
        self._low = self._smallest(self._low, rows)
        self._high = self._smallest(self._high, -rows)

    def _smallest(self, tail: Floats | None, rows: Floats) -> Floats:
        joined = rows if tail is None else np.concatenate([tail, rows])
        if len(joined) <= self._kept:
            return joined
        return np.partition(joined, self._kept - 1, axis=0)[: self._kept].copy()


def _at(tail: Floats, places: Floats, count: NDArray[np.int64], from_top: bool) -> Floats:
    """Interpolate each column of a sorted tail as NumPy's method ``linear`` does.

    Args:
        tail: shape (kept, columns), ascending; of the upper end the negated values.
        places: fractional ranks among ``count`` values, shape (columns,).
        count: numbers in each column.
        from_top: whether the tail is that of the upper end.
    """
    before = np.floor(np.maximum(places, 0)).astype(np.int64)
    after = np.minimum(before + 1, np.maximum(count - 1, 0))
    share = np.maximum(places, 0) - before
    if from_top:
        one, two = (-_take(tail, np.maximum(count - 1 - rank, 0)) for rank in (before, after))
    else:
        one, two = (_take(tail, rank) for rank in (before, after))
    step = two - one
    value = np.where(share >= 0.5, two - step * (1 - share), one + step * share)
    return np.where(count > 0, value, np.nan)


def _take(tail: Floats, ranks: NDArray[np.int64]) -> Floats:
    return np.asarray(np.take_along_axis(tail, ranks[None], axis=0)[0])
