"""DeLong against its definition, term by term."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medclf.evaluation.delong import delong_covariance, delong_interval, delong_test


def components(score, truth):
    """DeLong et al. 1988, equations 2 to 4: the structural components of each positive and of each negative."""
    positives, negatives = score[truth], score[~truth]

    def kernel(x, y):
        return 1.0 if y < x else 0.5 if y == x else 0.0

    v10 = [sum(kernel(x, y) for y in negatives) / len(negatives) for x in positives]
    v01 = [sum(kernel(x, y) for x in positives) / len(positives) for y in negatives]
    return np.array(v10), np.array(v01)


def by_definition(scores, truth):
    parts = [components(score, truth) for score in scores]
    areas = np.array([v10.mean() for v10, _ in parts])
    covariance = np.empty((len(scores), len(scores)))
    for row, (first10, first01) in enumerate(parts):
        for column, (second10, second01) in enumerate(parts):
            s10 = sum((first10 - areas[row]) * (second10 - areas[column])) / (len(first10) - 1)
            s01 = sum((first01 - areas[row]) * (second01 - areas[column])) / (len(first01) - 1)
            covariance[row, column] = s10 / len(first10) + s01 / len(first01)
    return areas, covariance


def drawn(seed, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random(45) < 0.4
    common = rng.normal(size=45) + truth
    scores = np.stack([common + rng.normal(size=45) * spread for spread in (0.3, 1, 3)])
    return (np.round(scores) if ties else scores), truth


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_areas_and_covariance_by_definition(seed, ties):
    scores, truth = drawn(seed, ties)
    areas, covariance = delong_covariance(scores, truth)
    slow_areas, slow_covariance = by_definition(scores, truth)
    assert areas == pytest.approx(slow_areas, abs=1e-12)
    assert covariance == pytest.approx(slow_covariance, abs=1e-12)
    assert areas == pytest.approx([roc_auc_score(truth, score) for score in scores], abs=1e-12)


def test_hand_calculation():
    # positives 2 and 4 beat 1 and 2 of the negatives 1 and 3: components 1/2 and 1, and 1 and 1/2
    areas, covariance = delong_covariance(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([False, True, False, True]))
    assert areas[0] == pytest.approx(0.75)
    assert covariance[0, 0] == pytest.approx(0.125 / 2 + 0.125 / 2)


@pytest.mark.parametrize("ties", [False, True])
def test_interval_on_the_logit_scale(ties):
    scores, truth = drawn(0, ties)
    areas, covariance = by_definition(scores[:1], truth)
    area, error = areas[0], np.sqrt(covariance[0, 0])
    logits = np.log(area / (1 - area)) + np.array([-1, 1]) * norm.ppf(0.95) * error / (area * (1 - area))
    assert delong_interval(scores[0], truth, level=0.9) == pytest.approx(np.exp(logits) / (1 + np.exp(logits)))


def test_interval_turns_with_the_scores():
    scores, truth = drawn(1, False)
    low, high = delong_interval(scores[0], truth)
    assert delong_interval(-scores[0], truth) == pytest.approx((1 - high, 1 - low))


def test_no_interval_where_the_area_is_one_or_nothing_varies():
    truth = np.array([False, False, True, True])
    assert np.isnan(delong_interval(np.array([1.0, 2.0, 3.0, 4.0]), truth)).all()
    assert np.isnan(delong_interval(np.array([4.0, 3.0, 2.0, 1.0]), truth)).all()
    assert np.isnan(delong_interval(np.ones(4), truth)).all()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_paired_test_by_definition(seed, ties):
    (first, second, _), truth = drawn(seed, ties)
    areas, covariance = by_definition([first, second], truth)
    contrast = np.array([1, -1])
    statistic = (areas @ contrast) ** 2 / (contrast @ covariance @ contrast)
    assert delong_test(first, second, truth) == pytest.approx(2 * norm.sf(np.sqrt(statistic)), abs=1e-10)
    assert delong_test(first, second, truth) == delong_test(second, first, truth)


def test_classifiers_that_rank_alike_do_not_differ():
    scores, truth = drawn(0, False)
    assert delong_test(scores[0], np.exp(scores[0]), truth) == 1


def test_paired_test_keeps_its_level():
    # two noisy readings of one signal: no difference, so that 5 % of the tests reject
    rng = np.random.default_rng(0)
    truth = np.arange(100) < 40
    rejected = 0
    for _ in range(1000):
        signal = truth + rng.normal(size=100)
        rejected += delong_test(signal + rng.normal(size=100), signal + rng.normal(size=100), truth) < 0.05
    # four standard errors of a count with p = 0.05
    assert rejected == pytest.approx(50, abs=4 * np.sqrt(1000 * 0.05 * 0.95))
