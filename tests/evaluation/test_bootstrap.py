"""The bootstrap draws whole patients within their classes."""

import numpy as np
import pytest
import scipy.stats
from helpers.prediction_samples import binary, clustered, predictions, sample

from medclf.evaluation.bootstrap import CHUNK, bootstrap_metrics, draw_resamples
from medclf.evaluation.metrics import compute_metrics


def drawn(made, resamples=200, seed=0):
    return np.concatenate(list(draw_resamples(made, resamples, seed)))


@pytest.fixture
def made():
    return clustered(np.random.default_rng(0), patients=20)


def test_images_of_a_patient_are_drawn_together(made):
    weights = drawn(made)
    assert weights.shape == (200, len(made))
    for patient in np.unique(made.groups):
        own = weights[:, made.groups == patient]
        assert (own == own[:, :1]).all()
    assert weights.max() > 1
    assert weights.min() == 0


def test_each_class_keeps_its_number_of_patients(made):
    weights = drawn(made)
    for label in (0, 1):
        first = [np.flatnonzero(made.groups == patient)[0] for patient in np.unique(made.groups[made.target == label])]
        assert (weights[:, first].sum(1) == 20).all()


def test_a_patient_of_several_classes_counts_for_the_one_that_most_of_his_images_have():
    # patient 0: b, b, a; patient 1: b; patients 2 and 3: a
    made = predictions(np.full((6, 2), 0.5), [1, 1, 0, 1, 0, 0], groups=[0, 0, 0, 1, 2, 3])
    weights = drawn(made)
    assert (weights[:, 0] + weights[:, 3] == 2).all()
    assert (weights[:, 4] + weights[:, 5] == 2).all()
    assert set(weights[:, 0]) == {0, 1, 2}


def test_patients_are_drawn_alike_often():
    made = binary(np.full(10, 0.5), [0] * 4 + [1] * 6)
    counts = drawn(made, resamples=20_000).mean(0)
    # the mean of 20,000 draws, five standard errors of a binomial count
    assert counts == pytest.approx(np.ones(10), abs=5 * np.sqrt(1 / 20_000))


def test_a_seed_gives_the_same_draws(made):
    assert (drawn(made, seed=3) == drawn(made, seed=3)).all()
    assert (drawn(made, seed=3) != drawn(made, seed=4)).any()


def test_two_classifiers_on_the_same_images_have_the_same_draws():
    one, other = sample(3, 50, 0, "skilled"), sample(3, 50, 0, "inverted")
    assert (one.target == other.target).all()
    assert (drawn(one) == drawn(other)).all()


def test_more_resamples_than_are_held_at_once():
    made = sample(2, 1000, 0, "skilled")
    resamples = CHUNK // 1000 + 7
    parts = list(draw_resamples(made, resamples, 0))
    assert len(parts) == 2
    found = bootstrap_metrics(made, resamples)
    assert found.overall["accuracy"].shape == (resamples,)
    right = made.predicted == made.target
    assert found.overall["accuracy"] == pytest.approx(np.concatenate(parts) @ right / 1000)


def test_a_subset_draws_its_own_patients_only(made):
    part = made.subset(made.groups >= 10)
    weights = drawn(part)
    assert weights.shape == (200, len(part))
    assert len({tuple(row) for row in weights}) > 1
    for label, count in ((0, 10), (1, 20)):
        first = [np.flatnonzero(part.groups == patient)[0] for patient in np.unique(part.groups[part.target == label])]
        assert (weights[:, first].sum(1) == count).all()


def test_against_scipy():
    # images of their own, all of one class: scipy's percentile bootstrap of the mean of what is right
    made = binary(np.random.default_rng(0).random(80), np.ones(80, int))
    right = (made.predicted == 1).astype(float)
    scipys = scipy.stats.bootstrap(
        (right,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    found = np.percentile(bootstrap_metrics(made, 20_000).overall["accuracy"], [2.5, 97.5])
    # accuracy moves in steps of 1/80
    assert found == pytest.approx(scipys.confidence_interval, abs=1.01 / 80)
    assert np.std(bootstrap_metrics(made, 20_000).overall["accuracy"]) == pytest.approx(scipys.standard_error, rel=0.03)


def test_against_a_plain_loop_over_patients(made):
    names = ("f1_positive", "auroc_macro", "mcc", "log_loss")
    rng = np.random.default_rng(7)
    looped = []
    for _ in range(4000):
        rows = []
        for label in (0, 1):
            patients = np.unique(made.groups[made.target == label])
            for patient in rng.choice(patients, len(patients)):
                rows += list(np.flatnonzero(made.groups == patient))
        weights = np.bincount(rows, minlength=len(made))[None].astype(float)
        looped.append(compute_metrics(made, weights).overall)
    found = bootstrap_metrics(made, 4000).overall
    for name in names:
        values = np.array([overall[name][0] for overall in looped])
        spread = values.std()
        ends = np.percentile(values, [2.5, 97.5])
        # a 2.5 % quantile of 4,000 has a standard error of 0.04 standard deviations; five of the difference of two
        assert np.percentile(found[name], [2.5, 97.5]) == pytest.approx(ends, abs=0.28 * spread), name
        assert found[name].std() == pytest.approx(spread, rel=0.1), name
