"""Whether the others of a dataset differ from its best, on the same test images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medclf.comparison.alignment import align_predictions
from medclf.comparison.paired_tests import Difference, bootstrap_p_value, holm_correction
from medclf.metric_registry import BOOTSTRAP
from medclf.overview.run_groups import RunGroup
from medclf.overview.run_means import IMAGE, Floats, Population, Resampler, compute_interval, get_reason, get_value
from medclf.overview.runs import RunEntry
from medclf.utils.errors import DataError

REPETITION = ("seed", "split seed", "fold")
"""What ``Entry.repetition`` holds."""
Runs = dict[Any, list[RunEntry]]
"""By repetition, the runs of a setting."""


@dataclass(frozen=True)
class PairedComparison:
    """A setting beside the best of its dataset and monitor: a row a metric, ``pairs`` of runs, ``others`` of settings.

    ``second`` of a row is the setting, ``first`` the best; means are of the runs that have a counterpart.
    """

    best: RunGroup
    other: RunGroup
    rows: list[Difference]
    pairs: int
    others: int


def compare_with_best(
    settings: Sequence[RunGroup], metrics: Sequence[str], resampler: Resampler
) -> list[PairedComparison]:
    """Compare each setting with the best of its dataset.

    Runs are paired by seed, seed of the split, and fold. The difference of the means has the percentiles of a paired
    bootstrap as its interval: the same patients are drawn for both. Within a metric p-values are corrected for the
    number of settings by Holm (1979). Where the test images of a pair differ, or a run has no counterpart, there is a
    reason in place of a number.
    """
    found = []
    for best in (setting for setting in settings if setting.best):
        others = [s for s in settings if (s.dataset, s.monitor) == (best.dataset, best.monitor) and s is not best]
        rows = [_rows(best, other, metrics, resampler) for other in others]
        for place in range(len(metrics)):
            corrected = holm_correction([own[place].p for own in rows])
            for own, p in zip(rows, corrected, strict=True):
                own[place] = replace(own[place], p_holm=p)
        found += [
            PairedComparison(best, other, own, len(other.done), len(others))
            for other, own in zip(others, rows, strict=True)
        ]
    return found


def _rows(best: RunGroup, other: RunGroup, metrics: Sequence[str], resampler: Resampler) -> list[Difference]:
    ones, twos = _beside_ensembles(_repetitions(best), _repetitions(other))
    empty = [
        Difference(name, best.label, other.label, best.test[name].value, other.test[name].value, math.nan, 0)
        for name in metrics
    ]
    reason = _obstacle(ones, twos)
    if reason:
        return [replace(row, reason=reason) for row in empty]
    ones = {key: ones[key] for key in twos}
    runs = [entry for own in ones.values() for entry in own]
    population = Population([entry.test for entry in runs if entry.test is not None])
    return [_row(row, ones, twos, population, resampler) for row in empty]


def _repetitions(setting: RunGroup) -> Runs:
    found: Runs = {}
    for entry in setting.done:
        found.setdefault(entry.repetition, []).append(entry)
    return found


def _beside_ensembles(ones: Runs, twos: Runs) -> tuple[Runs, Runs]:
    """An ensemble, which has no seed, stands beside each run of the other setting."""
    if [key[0] for key in ones] == [None]:
        return dict.fromkeys(twos, next(iter(ones.values()))), twos
    if [key[0] for key in twos] == [None]:
        return ones, dict.fromkeys(ones, next(iter(twos.values())))
    return ones, twos


def _obstacle(ones: Runs, twos: Runs) -> str:
    """Why they cannot be paired."""
    for key, own in twos.items():
        if key not in ones:
            return f"the best has no run of {_which(key, [*ones, *twos])} to pair with"
        unlike = [_unlike(one, two) for one in ones[key] for two in own]
        reasons = [reason for reason in unlike if reason]
        if reasons:
            return reasons[0]
    return ""


def _which(key: tuple[Any, ...], keys: Sequence[tuple[Any, ...]]) -> str:
    """The seed, and what else is not the same in all."""
    told = [at == 0 or len({other[at] for other in keys}) > 1 for at in range(len(key))]
    return ", ".join(f"{name} {value}" for name, value, tell in zip(REPETITION, key, told, strict=True) if tell)


def _unlike(one: RunEntry, two: RunEntry) -> str:
    """How the test images differ, or the positive class."""
    assert one.test is not None and two.test is not None
    if one.test.classes != two.test.classes or not one.test.table[IMAGE].equals(two.test.table[IMAGE]):
        try:
            align_predictions({"the best": one.test.table, "this one": two.test.table})  # may be so in another order
        except DataError as error:
            return "not the same test images: " + " ".join(str(error).splitlines()[1:]).strip()
    names = [None if test.positive is None else test.classes[test.positive] for test in (one.test, two.test)]
    return "" if names[0] == names[1] else f"the positive class differs: {names[0]}, {names[1]}"


def _row(
    row: Difference,
    ones: Runs,
    twos: Runs,
    population: Population,
    resampler: Resampler,
) -> Difference:
    values = [
        float(np.mean([np.mean([get_value(entry, row.metric) for entry in own]) for own in runs.values()]))
        for runs in (ones, twos)
    ]
    row = replace(row, first_value=values[0], second_value=values[1], n=len(population))
    if math.isnan(values[0] + values[1]):
        entries = [entry for runs in (ones, twos) for own in runs.values() for entry in own]
        return replace(
            row, reason=next(get_reason(e, row.metric) for e in entries if math.isnan(get_value(e, row.metric)))
        )
    drawn = [_drawn(runs, row.metric, population, resampler) for runs in (ones, twos)]
    differences, difference = drawn[1] - drawn[0], values[1] - values[0]
    p = bootstrap_p_value(differences)
    if (np.abs(differences) < 1e-12).all():
        return replace(row, difference=0.0, low=0.0, high=0.0, p=p, test=BOOTSTRAP)
    low, high, reason = compute_interval(BOOTSTRAP, difference, differences)
    return replace(row, difference=difference, low=low, high=high, p=p, test=BOOTSTRAP, reason=reason)


def _drawn(runs: Runs, metric: str, population: Population, resampler: Resampler) -> Floats:
    """The mean of each repetition's mean, in each resample."""
    means = []
    for own in runs.values():
        means.append(np.mean([values[metric] for values in resampler.values(own, population)], axis=0))
    return np.asarray(np.mean(means, axis=0))
