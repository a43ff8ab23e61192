"""Whether classifiers differ on the same test images: paired differences, their intervals and tests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from medclf.evaluation.bootstrap import bootstrap_metrics
from medclf.evaluation.delong import delong_test
from medclf.evaluation.metric_intervals import UNDEFINED, Metrics
from medclf.evaluation.predictions import Predictions
from medclf.metric_registry import BOOTSTRAP, DELONG, MCNEMAR, METRICS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How two classifiers differ in a metric; ``difference`` is the second's value less the first's.

    ``n`` images are the ones that the metric is about: for sensitivity the positive ones. ``low`` to ``high`` is the
    95 % interval of the difference, ``p`` its two-sided p-value by ``test``, ``p_holm`` the same corrected for the
    number of pairs. McNemar's test counts the images that the first or the second alone has right. What is not defined
    is NaN, and ``reason`` says why.
    """

    metric: str
    first: str
    second: str
    first_value: float
    second_value: float
    difference: float
    n: int
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    test: str = ""
    only_first_right: int | None = None
    only_second_right: int | None = None
    reason: str = ""


def compute_differences(
    runs: Mapping[str, Predictions], found: Mapping[str, Metrics], metrics: Sequence[str], resamples: int, seed: int
) -> list[Difference]:
    """Return the differences of every pair of classifiers, metric by metric.

    Intervals are the percentiles of a paired bootstrap: the same patients are drawn for all classifiers. Where every
    patient has one image, accuracy, sensitivity and specificity are tested by McNemar's exact test and the AUROC of two
    classes by DeLong's; all else by the bootstrap. Within each metric the p-values are corrected for the number of
    pairs by Holm (1979); metrics are not corrected for each other, so one should be chosen beforehand.

    Args:
        runs: by label, predictions whose images, patients, classes and positive class are the same (``aligned``).
        found: by label, what ``estimate`` gives for them.
        metrics: names of ``Metrics.overall``.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    drawn = {
        label: bootstrap_metrics(predictions, resamples, seed, names=set(metrics)).overall
        for label, predictions in runs.items()
    }
    rows = []
    for metric in metrics:
        pairs = [
            _difference((one, two), runs, found, metric, drawn[two][metric] - drawn[one][metric])
            for one, two in combinations(runs, 2)
        ]
        corrected = holm_correction([pair.p for pair in pairs])
        rows += [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]
    return rows


def _difference(
    pair: tuple[str, str], runs: Mapping[str, Predictions], found: Mapping[str, Metrics], metric: str, drawn: Floats
) -> Difference:
    """Without the correction; ``drawn`` is the difference in each resample."""
    first, second = (runs[label] for label in pair)
    one, two = (found[label].overall[metric] for label in pair)
    about = _about(first, metric)
    plain = Difference(metric, *pair, one.value, two.value, _clean(two.value - one.value), int(about.sum()))
    if math.isnan(plain.difference):
        reasons = [f"{label}: {e.reason}" for label, e in zip(pair, (one, two), strict=True) if math.isnan(e.value)]
        return replace(plain, reason="; ".join(reasons))
    return _tested(_with_interval(plain, drawn), first, second, about, drawn)


def _about(predictions: Predictions, metric: str) -> NDArray[np.bool_]:
    """Return which images a paired test counts."""
    truth: NDArray[np.bool_] = predictions.target == predictions.positive
    everything = np.full(len(truth), True)
    if METRICS[metric].test != MCNEMAR or not METRICS[metric].needs:
        return everything
    return truth if METRICS[metric].needs == ("positive images",) else ~truth


def _with_interval(plain: Difference, drawn: Floats) -> Difference:
    missing = float(np.isnan(drawn).mean())
    if missing > UNDEFINED:
        reason = f"the interval is not defined: nor is the metric in {missing:.0%} of the resamples"
        return replace(plain, reason=reason)
    low, high = (_clean(end) for end in np.nanpercentile(drawn, [2.5, 97.5]))
    if low == high != 0:
        reason = "the difference is the same in every resample, from which no interval can be told"
        return replace(plain, reason=reason)
    return replace(plain, low=low, high=high)


def _tested(
    plain: Difference, first: Predictions, second: Predictions, about: NDArray[np.bool_], drawn: Floats
) -> Difference:
    """With its p-value, the test, and the counts of McNemar's."""
    test = METRICS[plain.metric].test
    if first.one_image_each and test == MCNEMAR:
        one, two = ((run.predicted == run.target)[about] for run in (first, second))
        b, c = int((one & ~two).sum()), int((two & ~one).sum())
        return replace(plain, p=mcnemar_test(b, c), test=MCNEMAR, only_first_right=b, only_second_right=c)
    if first.one_image_each and test == DELONG and first.positive is not None:
        truth = first.target == first.positive
        if min(truth.sum(), (~truth).sum()) > 1:  # the variance needs two of each
            one, two = (run.probabilities[:, first.positive] for run in (first, second))
            return replace(plain, p=delong_test(one, two, truth), test=DELONG)
    return replace(plain, p=bootstrap_p_value(drawn), test=BOOTSTRAP)


def _clean(value: float) -> float:
    """The value, without what rounding leaves of nothing."""
    return 0.0 if abs(value) < 1e-12 else float(value)


def mcnemar_test(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's test (1947) by the binomial distribution; 1 where no image tells them apart.

    Args:
        only_first: images that the first classifier alone has right.
        only_second: images that the second alone has right.
    """
    apart = only_first + only_second
    return float(binomtest(only_first, apart).pvalue) if apart else 1.0


def bootstrap_p_value(differences: Floats) -> float:
    """Two-sided p-value of no difference: twice the share of resamples on the rarer side of 0, at most 1.

    One is added to resamples and counts, so that it is never 0 (Davison and Hinkley 1997, section 4.2.5). NaN where
    more than 5 % of the differences are.
    """
    defined = differences[~np.isnan(differences)]
    if len(defined) < (1 - UNDEFINED) * len(differences):
        return math.nan
    rarer = min(int((defined < 1e-12).sum()), int((defined > -1e-12).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(defined) + 1))


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scandinavian Journal of Statistics 1979); NaN stay and do not count.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none becomes smaller than the one before it.
    """
    corrected = np.array(p_values, np.float64)
    order = np.argsort(corrected, kind="stable")[: int((~np.isnan(corrected)).sum())]  # NaN come last
    corrected[order] = np.minimum(1, np.maximum.accumulate(corrected[order] * np.arange(len(order), 0, -1)))
    return [float(p) for p in corrected]
