"""What may be concluded of differences, and what to bear in mind, in sentences."""

import math
from collections.abc import Iterator, Sequence

from medclf.comparison.compare import Comparison
from medclf.comparison.paired_tests import Difference
from medclf.metric_registry import METRICS

ALPHA = 0.05


def format_conclusions(rows: Sequence[Difference], pairs: int) -> Iterator[str]:
    """Return the conclusion for each metric of a pair as list items; ``pairs`` is the number of all pairs."""
    for row in rows:
        yield f"- {row.metric}: {format_conclusion(row, pairs)}"


def format_conclusion(row: Difference, pairs: int = 1, name: str | None = None) -> str:
    """Return what may be concluded of a difference at 5 %.

    Args:
        row: difference in a metric.
        pairs: number of pairs that its p-value is corrected for.
        name: what the metric is called; by default as in files.
    """
    if math.isnan(row.p):
        return f"cannot be compared: {row.reason}"
    p = f"p {format_p_value(row.p_holm)}" + (f" after correction for {pairs} pairs" if pairs > 1 else "")
    disagree = f"the methods disagree, so nothing is concluded: {p} by {row.test}, but the interval of the bootstrap"
    if row.p_holm < ALPHA:
        return _winner(row, p, name or row.metric) if _leaves_out_0(row) else f"{disagree}, {_span(row)}, contains 0"
    if row.p < ALPHA:
        return f"no difference can be concluded: p {format_p_value(row.p)} for this pair alone, but {p}"
    if math.isnan(row.low):
        return f"no difference can be concluded: {p}; {row.reason}"
    if _leaves_out_0(row):
        return f"{disagree}, {_span(row)}, leaves out 0"
    if row.low == row.high:
        return "no difference can be concluded: they are equal in every resample"
    return f"no difference can be concluded: the data agree with {row.second} being {_range(row)}"


def is_concluded(row: Difference) -> bool:
    """Return whether both the test and the interval show a difference."""
    return row.p_holm < ALPHA and _leaves_out_0(row)


def _leaves_out_0(row: Difference) -> bool:
    return not row.low <= 0 <= row.high  # also of an interval that is not defined


def _winner(row: Difference, p: str, name: str) -> str:
    higher = row.second if row.difference > 0 else row.first
    lower = row.first if row.difference > 0 else row.second
    span = "" if math.isnan(row.low) else f" {_span(row, absolute=True)}"
    by = f"by {_short(abs(row.difference))}{span}, {p}"
    metric = METRICS[row.metric]
    if metric.trade_off:
        return f"{higher} has the higher {name}: {by}"
    if metric.lower_is_better:
        return f"{lower} is better: {name} lower {by}"
    return f"{higher} is better: {name} higher {by}"


def _span(row: Difference, absolute: bool = False) -> str:
    ends = (row.low, row.high) if row.difference >= 0 or not absolute else (-row.high, -row.low)
    return "[{}, {}]".format(*map(_short, ends))


def _range(row: Difference) -> str:
    """From the worst to the best that the interval leaves open for the second."""
    metric = METRICS[row.metric]
    low, high = (-row.high, -row.low) if metric.lower_is_better else (row.low, row.high)
    worse, better = ("lower", "higher") if metric.trade_off else ("worse", "better")
    return f"{_short(abs(low))} {worse} to {_short(abs(high))} {better}"


def list_cautions(result: Comparison) -> Iterator[str]:
    """Return how the comparison was made and what does not follow from it."""
    test = result.test
    yield f"All are of the same {len(test)} test images of {test.patients} patients."
    yield (
        "Intervals are of 95 %; those of differences by the paired bootstrap of patients, "
        f"{result.resamples} resamples of seed {result.seed}."
    )
    if not test.one_image_each:
        yield "Patients have several images, so every p-value is by the bootstrap too."
    yield (
        "p-values are corrected for the number of pairs by Holm (1979); metrics are not corrected for each other: "
        "choose one before you look."
    )
    smallest = 2 * len(result.pairs) / (result.resamples + 1)
    if smallest >= ALPHA:
        yield (
            f"{result.resamples} resamples are too few for {len(result.pairs)} pairs: no corrected p-value of the "
            f"bootstrap can be below {ALPHA}; type a larger resamples=N."
        )
    yield (
        f"A difference is concluded where the corrected p is below {ALPHA} and the interval leaves out 0. "
        "That none can be concluded does not mean that there is none."
    )
    if any(METRICS[row.metric].trade_off for row in result.differences):
        yield "Sensitivity is had for specificity by another threshold: look at both, or at AUROC."
    recipes = "" if result.several_seeds else ": another seed may turn the order"
    yield f"This compares these trained networks, not the recipes that they were trained by{recipes}."


def format_p_value(p: float) -> str:
    """Return a p value with its sign: ``= 0.0123``, ``< 0.0001``."""
    return "= NaN" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _short(value: float) -> str:
    """Three decimals, and two digits of what is small."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
