"""Percentiles of values that come in blocks, and the memory that the metrics of many classes take."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from helpers.prediction_samples import sample

from medclf.evaluation.bootstrap import MAX_VALUES, Percentiles, compute_percentiles, draw_resamples, validate_resamples
from medclf.evaluation.metrics import compute_metrics
from medclf.utils.errors import ConfigError


@pytest.mark.parametrize("rows", [1, 2, 3, 39, 40, 41, 1000, 2003])
@pytest.mark.parametrize("step", [1, 7, 5000])
def test_they_are_those_of_all_rows_at_once(rows, step):
    rng = np.random.default_rng(rows)
    values = np.round(rng.normal(size=(rows, 4)), 2)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 3] = np.nan
    found = Percentiles(rows)
    for begin in range(0, rows, step):
        found.add(values[begin : begin + step])
    for column, spread in zip(values.T, found.spreads(), strict=True):
        known = column[~np.isnan(column)]
        expected = np.percentile(known, [2.5, 97.5]) if len(known) else [np.nan, np.nan]
        assert np.array_equal([spread.low, spread.high], expected, equal_nan=True)
        assert spread.missing == np.isnan(column).mean()


def test_memory_grows_with_neither_the_resamples_nor_the_square_of_the_classes():
    few = peak(lambda: compute_percentiles(sample(3, 40, 0, "skilled"), 20_000, ranks=False))
    many = peak(lambda: compute_percentiles(sample(3, 40, 0, "skilled"), 200_000, ranks=False))
    assert many < 3 * few
    made = replace(sample(120, 240, 0, "skilled"), classes=[str(at) for at in range(120)])
    # a confusion matrix of each of 1666 resamples would take 190 MB
    weights = next(draw_resamples(made, 2000, 0))
    assert peak(lambda: compute_metrics(made, weights, ranks=False)) < 60e6


def peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_comparison_that_would_fill_the_memory_is_refused():
    validate_resamples(1_000_000, 100)
    most = MAX_VALUES // 1000
    validate_resamples(most, 1000)
    with pytest.raises(ConfigError, match=f"resamples={most + 1}: too many .* set resamples={most},"):
        validate_resamples(most + 1, 1000)
