"""Curves against scikit-learn and by hand."""

import numpy as np
import pytest
import sklearn.metrics as reference
from helpers.prediction_samples import binary, called, clustered, predictions, sample

from medclf.evaluation.curves import (
    GRID,
    confusion_matrix,
    decision_curve,
    precision_recall_curve,
    reliability_curve,
    roc_curve,
    score_histogram,
)
from medclf.evaluation.metric_intervals import wilson_interval


@pytest.mark.parametrize("kind", ["random", "skilled", "perfect", "inverted", "tied"])
@pytest.mark.parametrize(("classes", "n"), [(2, 50), (2, 100), (3, 77)])
def test_roc_curve(classes, n, kind):
    made = sample(classes, n, 0, kind)
    found = roc_curve(made)
    assert list(found["class"].unique()) == [made.classes[at] for at in made.shown_classes]
    for at in made.shown_classes:
        own = found[found["class"] == made.classes[at]]
        false, true, _ = reference.roc_curve(made.target == at, made.probabilities[:, at], drop_intermediate=False)
        for rate, value in zip(own["false_positive_rate"], own["sensitivity"], strict=True):
            # on a step the upper end; the tiny distance is that of 7 * 0.01 and 7 / 100
            left = np.flatnonzero(false <= rate + 1e-12)[-1]
            right = min(left + 1, len(false) - 1)
            run = false[right] - false[left]
            slope = (true[right] - true[left]) / run if run > 0 else 0
            assert value == pytest.approx(true[left] + slope * max(0, rate - false[left]), abs=1e-9)


@pytest.mark.parametrize("kind", ["random", "skilled", "perfect", "inverted", "tied"])
@pytest.mark.parametrize(("classes", "n"), [(2, 50), (2, 100), (3, 77)])
def test_precision_recall_curve(classes, n, kind):
    made = sample(classes, n, 0, kind)
    found = precision_recall_curve(made)
    for at in made.shown_classes:
        own = found[found["class"] == made.classes[at]]
        truth, score = made.target == at, made.probabilities[:, at]
        precision, recall, _ = reference.precision_recall_curve(truth, score)
        for wanted, value in zip(own["recall"], own["precision"], strict=True):
            # scikit-learn's come with rising thresholds, and end with a made-up precision of 1 at recall 0
            enough = (recall >= wanted - 1e-9) & (recall > 0)
            assert value == pytest.approx(precision[enough][-1], abs=1e-12)


@pytest.mark.parametrize(("curve", "column"), [(roc_curve, "sensitivity"), (precision_recall_curve, "precision")])
def test_band_holds_the_curve(curve, column):
    found = curve(clustered(np.random.default_rng(0), 60))
    inside = (found["low"] <= found[column] + 1e-12) & (found[column] <= found["high"] + 1e-12)
    assert inside.mean() > 0.95
    assert (found["high"] - found["low"]).mean() > 0.02
    assert len(found) == len(GRID) == 101


@pytest.mark.parametrize("curve", [roc_curve, precision_recall_curve, decision_curve])
def test_a_seed_gives_the_same_band(curve):
    made = sample(2, 60, 0, "skilled")
    assert curve(made, seed=1).equals(curve(made, seed=1))
    assert not curve(made, seed=1).equals(curve(made, seed=2))


@pytest.mark.parametrize("curve", [roc_curve, precision_recall_curve])
def test_a_class_without_images_of_both_kinds_has_no_curve(curve):
    assert set(curve(sample(3, 40, 0, "absent"))["class"]) == {"a", "b"}
    alone = curve(called([0, 0, 0], [0, 1, 0]))
    assert len(alone) == 0
    assert list(alone) == list(curve(sample(2, 20, 0, "skilled")))


def test_decision_curve_by_its_formula():
    made = clustered(np.random.default_rng(0), 40)
    found = decision_curve(made)
    truth, score = made.target == 1, made.probabilities[:, 1]
    n = len(made)
    for threshold, benefit, treat_all in found[["threshold", "net_benefit", "treat_all"]].to_numpy():
        call = score >= threshold
        odds = threshold / (1 - threshold)
        assert benefit == pytest.approx((call & truth).sum() / n - (call & ~truth).sum() / n * odds)
        assert treat_all == pytest.approx(truth.sum() / n - (~truth).sum() / n * odds)
    assert list(found["threshold"]) == pytest.approx([at / 100 for at in range(1, 100)])
    inside = found["net_benefit"].between(found["low"] - 1e-12, found["high"] + 1e-12)
    assert inside.mean() > 0.9


def test_reliability_by_hand():
    made = binary([0.02, 0.08, 0.31, 0.35, 0.95, 1.0, 0.99], [0, 1, 0, 1, 1, 1, 0])
    found = reliability_curve(made)
    assert list(found["n"]) == [2, 2, 3]
    assert list(found["probability"]) == pytest.approx([0.05, 0.33, (0.95 + 1 + 0.99) / 3])
    assert list(found["share"]) == pytest.approx([0.5, 0.5, 2 / 3])
    assert list(zip(found["low"], found["high"], strict=True)) == [
        wilson_interval(1, 2),
        wilson_interval(1, 2),
        wilson_interval(2, 3),
    ]


def test_reliability_of_three_classes_is_about_the_most_probable():
    made = predictions([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.15, 0.8, 0.05]], [0, 1, 2])
    found = reliability_curve(made)
    assert list(found["n"]) == [1, 2]
    assert list(found["share"]) == [1, 0.5]
    assert list(found["probability"]) == pytest.approx([0.5, 0.8])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", ["skilled", "perfect", "tied", "absent"])
def test_nothing_is_lost_in_bins(classes, kind):
    made = sample(classes, 70, 0, kind)
    assert reliability_curve(made)["n"].sum() == 70
    histogram = score_histogram(made)
    counts = histogram.groupby("class")["images"].sum()
    assert [counts[label] for label in made.classes] == list(np.bincount(made.target, minlength=classes))
    assert confusion_matrix(made).to_numpy().sum() == 70


def test_score_histogram_by_hand():
    found = score_histogram(binary([0.01, 0.04, 0.07, 1.0], [0, 1, 0, 1])).set_index(["class", "from"])["images"]
    assert found["a"].iloc[:3].tolist() == [1, 1, 0]
    assert found["b"].iloc[[0, 1, 19]].tolist() == [1, 0, 1]
    # of three classes the probability of the true one
    found = score_histogram(predictions([[0.62, 0.26, 0.12], [0.62, 0.26, 0.12]], [0, 2])).set_index("class")["images"]
    assert found["a"].to_numpy().argmax() == 12
    assert found["c"].to_numpy().argmax() == 2


@pytest.mark.parametrize("classes", [2, 4])
def test_confusion_matrix(classes):
    made = sample(classes, 50, 0, "skilled")
    found = confusion_matrix(made)
    assert (found.to_numpy() == reference.confusion_matrix(made.target, made.predicted)).all()
    assert list(found.index) == list(found.columns) == made.classes
