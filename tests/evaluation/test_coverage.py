"""95 % intervals hold the true value 95 times of 100: on simulated sets of which the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.prediction_samples import clustered
from scipy.stats import binom, norm

from medclf.evaluation.bootstrap import bootstrap_metrics
from medclf.evaluation.delong import delong_interval
from medclf.evaluation.metric_intervals import wilson_interval
from medclf.evaluation.metrics import compute_metrics

pytestmark = pytest.mark.slow

MEANS = (-1.0, 0.5)
SETS = 1500
PATIENTS = 150


def within(coverage):
    return 0.93 <= coverage <= 0.97


def coverage_of_wilson(n, share):
    """Exactly, since the probability of each number of hits is known."""
    covered = [hits for hits in range(n + 1) if (ends := wilson_interval(hits, n))[0] <= share <= ends[1]]
    return binom.pmf(covered, n, share).sum()


@pytest.mark.parametrize("n", [150, 600])
@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_wilson(n, share):
    assert within(coverage_of_wilson(n, share))


@pytest.mark.parametrize("n", [20, 50])
def test_wilson_of_few_images_on_average(n):
    # hits are whole numbers, so that the coverage of one share may be 97.03 % (n = 50, 0.9)
    assert within(np.mean([coverage_of_wilson(n, share) for share in np.linspace(0.5, 0.95, 46)]))


@pytest.mark.parametrize("gap", [0.5, 1.5, 2.5])
def test_delong(gap):
    # two normal classes with a variance of 1
    area = norm.cdf(gap / np.sqrt(2))
    truth = np.arange(250) < 100
    rng = np.random.default_rng(0)
    intervals = [delong_interval(gap * truth + rng.normal(size=250), truth) for _ in range(2000)]
    assert within(np.mean([low <= area <= high for low, high in intervals]))


def truths():
    """What a very large set would show: both classes have the same number of images on average."""
    specificity, sensitivity = norm.cdf(-MEANS[0]), norm.cdf(MEANS[1])
    called = (sensitivity + 1 - specificity) / 2
    return {
        "accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "auroc_macro": norm.cdf((MEANS[1] - MEANS[0]) / np.sqrt(2)),
        "f1_positive": sensitivity / (0.5 + called),
        "mcc": (sensitivity + specificity - 1) / 2 / np.sqrt(called * (1 - called)),
    }


def test_the_truths_are_those_of_a_large_set():
    made = clustered(np.random.default_rng(0), 200_000, MEANS)
    found = compute_metrics(made, np.ones((1, len(made)))).overall
    assert {name: found[name][0] for name in truths()} == pytest.approx(truths(), abs=0.005)


def holds(made, seed, true):
    """Whether the percentiles of 500 resamples, which ``estimate`` takes too, hold the truth of each metric."""
    resampled = bootstrap_metrics(made, 500, seed).overall
    low, high = np.percentile([resampled[name] for name in true], [2.5, 97.5], axis=1)
    value = np.array(list(true.values()))
    return (low <= value) & (value <= high)


def test_bootstrap_of_patients_and_that_of_images_which_is_too_sure():
    rng = np.random.default_rng(0)
    true = truths()
    of_patients, of_images = [], []
    for seed in range(SETS):
        made = clustered(rng, PATIENTS, MEANS, images=(1, 3))
        of_patients.append(holds(made, seed, true))
        if seed < 150:
            of_images.append(holds(replace(made, groups=np.arange(len(made))), seed, true))
    coverage = dict(zip(true, np.mean(of_patients, axis=0), strict=True))
    too_sure = dict(zip(true, np.mean(of_images, axis=0), strict=True))
    assert all(within(share) for share in coverage.values()), coverage
    assert all(share < 0.9 for share in too_sure.values()), too_sure
