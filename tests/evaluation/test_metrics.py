"""Every metric against scikit-learn; what is not defined is NaN."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from helpers.prediction_samples import KINDS, called, predictions, sample, taken

from medclf.evaluation.metrics import BINS, compute_metrics
from medclf.metric_registry import headline_names, metric_names

NAN = math.nan
PREVALENCE = 0.07


def of_class(made, weights, at):
    """One class against the rest."""
    truth, call, score = made.target == at, made.predicted == at, made.probabilities[:, at]
    options = {"sample_weight": weights, "zero_division": NAN}
    both = truth.any() and not truth.all()
    return {
        "sensitivity": reference.recall_score(truth, call, **options),
        "specificity": reference.recall_score(~truth, ~call, **options),
        "ppv": reference.precision_score(truth, call, **options),
        "npv": reference.precision_score(~truth, ~call, **options),
        "f1": reference.f1_score(truth, call, sample_weight=weights) if truth.any() else NAN,
        "auroc": reference.roc_auc_score(truth, score, sample_weight=weights) if both else NAN,
        "average_precision": reference.average_precision_score(truth, score, sample_weight=weights) if both else NAN,
    }


def over_classes(made, weights, per_class, average):
    """Means over the classes: NaN where one that counts is not defined, else what scikit-learn gives."""
    target, predicted, count = made.target, made.predicted, len(made.classes)
    counted = [at for at in range(count) if average == "macro" or (target == at).any()]
    onehot = np.eye(count, dtype=int)[target]
    options = {"average": average, "sample_weight": weights}
    labelled = {**options, "labels": range(count), "zero_division": 0}
    functions = {
        "precision": ("ppv", lambda: reference.precision_score(target, predicted, **labelled)),
        "recall": ("sensitivity", lambda: reference.recall_score(target, predicted, **labelled)),
        "f1": ("f1", lambda: reference.f1_score(target, predicted, **labelled)),
        "auroc": ("auroc", lambda: reference.roc_auc_score(onehot, made.probabilities, **options)),
        "average_precision": (
            "average_precision",
            lambda: reference.average_precision_score(onehot, made.probabilities, **options),
        ),
    }
    if average == "macro":
        # scikit-learn has no macro average of these two
        functions |= {
            name: (name, lambda name=name: float(np.mean([own[name] for own in per_class])))
            for name in ("specificity", "npv")
        }
    return {
        f"{name}_{average}": NAN if any(math.isnan(per_class[at][source]) for at in counted) else compute()
        for name, (source, compute) in functions.items()
    }


def calibration_error(made, weights):
    """Guo et al. 2017, equations 2 to 5, bin by bin."""
    confidence, right = made.probabilities.max(1), made.probabilities.argmax(1) == made.target
    total = 0.0
    for at in range(BINS):
        inside = [i for i, value in enumerate(confidence) if at / BINS < value <= (at + 1) / BINS]
        if sum(weights[i] for i in inside):
            mean = sum(weights[i] * confidence[i] for i in inside) / sum(weights[i] for i in inside)
            share = sum(weights[i] * right[i] for i in inside) / sum(weights[i] for i in inside)
            total += sum(weights[i] for i in inside) / sum(weights) * abs(mean - share)
    return total


def of_positive(made, weights, own):
    at = made.positive
    truth, call = made.target == at, made.predicted == at
    values = {name: own[name] for name in ("sensitivity", "specificity", "ppv", "npv")}
    values |= {"f1_positive": own["f1"], "average_precision_positive": own["average_precision"]}
    values |= {"auroc_macro": own["auroc"], "auroc_weighted": own["auroc"]}
    if truth.any() and not truth.all():
        # the same images, weighted so that the positive ones have the stated share
        share = np.average(truth, weights=weights)
        shifted = weights * np.where(truth, PREVALENCE / share, (1 - PREVALENCE) / (1 - share))
        options = {"sample_weight": shifted, "zero_division": NAN}
        ppv, npv = (
            reference.precision_score(truth, call, **options),
            reference.precision_score(~truth, ~call, **options),
        )
    else:
        ppv = npv = NAN
    return values | {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}


def expected(made, weights):
    made, weights = taken(made, weights > 0), weights[weights > 0]
    target, predicted, count = made.target, made.predicted, len(made.classes)
    per_class = [of_class(made, weights, at) for at in range(count)]
    macro = over_classes(made, weights, per_class, "macro")
    spread = len(set(target)) > 1 and len(set(predicted)) > 1
    agreement_by_chance = set(target) == set(predicted) and len(set(target)) == 1
    # one value a class; scikit-learn's convention (scale_by_half) halves it for two classes
    squares = [
        reference.brier_score_loss(target == at, made.probabilities[:, at], sample_weight=weights, pos_label=True)
        for at in range(count)
    ]
    overall = {
        "accuracy": reference.accuracy_score(target, predicted, sample_weight=weights),
        "balanced_accuracy": NAN
        if math.isnan(macro["recall_macro"])
        else reference.balanced_accuracy_score(target, predicted, sample_weight=weights),
        **macro,
        **over_classes(made, weights, per_class, "weighted"),
        "mcc": reference.matthews_corrcoef(target, predicted, sample_weight=weights) if spread else NAN,
        "cohen_kappa": NAN
        if agreement_by_chance
        else reference.cohen_kappa_score(target, predicted, sample_weight=weights),
        "log_loss": reference.log_loss(target, made.probabilities, labels=range(count), sample_weight=weights),
        "brier": sum(squares) / (2 if count == 2 else 1),
        "calibration_error": calibration_error(made, weights),
    }
    if count == 2:
        overall |= of_positive(made, weights, per_class[made.positive])
    return overall, per_class


def check(made, weights):
    found = compute_metrics(made, weights[None].astype(float), PREVALENCE)
    overall, per_class = expected(made, weights)
    # both sides have the same names, so that none goes unchecked
    assert {name: float(value[0]) for name, value in found.overall.items()} == pytest.approx(
        overall, abs=1e-9, rel=0, nan_ok=True
    )
    for at, own in enumerate(per_class):
        assert {name: float(value[0, at]) for name, value in found.per_class.items()} == pytest.approx(
            own, abs=1e-9, rel=0, nan_ok=True
        )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_against_scikit_learn(classes, kind, seed):
    made = sample(classes, 60, seed, kind, positive=seed)
    check(made, np.ones(60))
    check(made, np.random.default_rng(seed).integers(4, size=60))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["skilled", "inverted"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_one_image(classes, kind):
    check(sample(classes, 1, 0, kind), np.ones(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_weights_are_repeated_rows(classes, kind):
    made = sample(classes, 40, 0, kind)
    weights = np.random.default_rng(1).integers(4, size=(5, 40))
    together = compute_metrics(made, weights.astype(float), PREVALENCE)
    for row, counts in enumerate(weights):
        rows = np.repeat(np.arange(40), counts)
        alone = compute_metrics(taken(made, rows), np.ones((1, len(rows))), PREVALENCE)
        for name, value in together.overall.items():
            assert value[row] == pytest.approx(alone.overall[name][0], abs=1e-12, nan_ok=True), name
        for name, value in together.per_class.items():
            assert value[row] == pytest.approx(alone.per_class[name][0], abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("classes", [2, 3])
def test_every_name_that_is_shown_is_computed(classes):
    names = compute_metrics(sample(classes, 20, 0, "skilled"), np.ones((1, 20))).overall
    assert {*metric_names(classes), *headline_names(classes)} <= set(names)


def test_hand_calculation():
    # true a: 3 of 4 right; true b, the positive one: 4 of 6 right
    made = called([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    values = {name: value[0] for name, value in compute_metrics(made, np.ones((1, 10)), 0.1).overall.items()}
    assert values["accuracy"] == pytest.approx(0.7)
    assert values["balanced_accuracy"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert values["ppv"] == pytest.approx(4 / 5)
    assert values["ppv_at_prevalence"] == pytest.approx(0.1 * 4 / 6 / (0.1 * 4 / 6 + 0.9 / 4))
    # every image has 0.9 for what it is called, and 7 of 10 are right
    assert values["calibration_error"] == pytest.approx(0.2)
    assert values["brier"] == pytest.approx(0.7 * 0.1**2 + 0.3 * 0.9**2)


def test_one_positive_among_very_many():
    target = np.zeros(100_000, int)
    target[0] = 1
    assert compute_metrics(called(target, target), np.ones((1, 100_000))).overall["mcc"][0] == pytest.approx(1)


def test_saturated_probabilities_keep_their_order():
    # as float32 all four would be 1
    probability = 1 / (1 + np.exp(-np.array([30.0, 31.0, 32.0, 33.0])))
    made = predictions(np.stack([1 - probability, probability], 1), [0, 0, 1, 1])
    assert len(set(probability.astype(np.float32))) == 1
    assert compute_metrics(made, np.ones((1, 4))).overall["auroc_macro"][0] == pytest.approx(1)


def test_macro_auroc_of_two_classes_is_the_positive_ones_where_rounding_ties_the_other():
    logits = np.array([30.0, 37.0, 38.0, 39.0])
    made = predictions(np.stack([np.exp(-logits), 1 / (1 + np.exp(-logits))], 1), [0, 0, 1, 1])
    found = compute_metrics(made, np.ones((1, 4)))
    assert list(found.per_class["auroc"][0]) == [1, 0.75]
    assert found.overall["auroc_macro"][0] == 0.75


@pytest.mark.parametrize("classes", [2, 3])
def test_without_the_ranks_the_rest_is_the_same(classes):
    made = sample(classes, 40, 0, "skilled")
    weights = np.random.default_rng(0).integers(4, size=(3, 40)).astype(float)
    everything, rest = (compute_metrics(made, weights, PREVALENCE, ranks) for ranks in (True, False))
    for whole, part in ((everything.overall, rest.overall), (everything.per_class, rest.per_class)):
        assert {name for name in whole if name not in part} == {
            name for name in whole if name.startswith(("auroc", "average_precision"))
        }
        for name, value in part.items():
            assert np.array_equal(value, whole[name], equal_nan=True), name


def test_bins_of_the_calibration_error_are_closed_above():
    # 0.6 = 9/15 ends the bin before that of 0.65: in one bin their errors of +0.6 and -0.35 would cancel out
    made = predictions([[0.6, 0.4], [0.65, 0.35]], [1, 0])
    assert compute_metrics(made, np.ones((1, 2))).overall["calibration_error"][0] == pytest.approx((0.6 + 0.35) / 2)
