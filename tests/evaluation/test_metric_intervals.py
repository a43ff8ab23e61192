"""Each metric has its n, its interval and the method of it, or the reason why not."""

import math

import numpy as np
import pytest
from helpers.prediction_samples import KINDS, binary, called, clustered, predictions, sample

from medclf.evaluation.bootstrap import bootstrap_metrics
from medclf.evaluation.delong import delong_interval
from medclf.evaluation.metric_intervals import Estimate, Metrics, estimate_metrics, wilson_interval

BY_BOOTSTRAP = "bootstrap of patients"


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 7), (40, 50), (9, 9)])
def test_wilson_by_its_formula(hits, n):
    z, share = 1.959963984540054, hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson_interval(hits, n) == pytest.approx((centre - half, centre + half), abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(hits, n, low, high):
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_methods_where_every_patient_has_one_image():
    made = sample(2, 80, 0, "skilled")
    found = estimate_metrics(made, 200).overall
    truth = made.target == 1
    assert found["sensitivity"].method == found["accuracy"].method == found["npv"].method == "Wilson"
    hits = int((made.predicted[truth] == 1).sum())
    assert (found["sensitivity"].low, found["sensitivity"].high) == wilson_interval(hits, int(truth.sum()))
    assert found["auroc_macro"].method == "DeLong"
    own = delong_interval(made.probabilities[:, 1], truth)
    assert (found["auroc_macro"].low, found["auroc_macro"].high) == own
    for name in ("f1_positive", "mcc", "log_loss", "balanced_accuracy", "average_precision_positive"):
        assert found[name].method == BY_BOOTSTRAP, name


def test_methods_where_patients_have_several_images():
    made = clustered(np.random.default_rng(0), 30)
    found = estimate_metrics(made, 200)
    resampled = bootstrap_metrics(made, 200)
    for name, value in found.overall.items():
        if name != "calibration_error":
            assert value.method == BY_BOOTSTRAP, name
            assert (value.low, value.high) == pytest.approx(np.percentile(resampled.overall[name], [2.5, 97.5]))
    for at, label in enumerate("ab"):
        for name, value in found.per_class[label].items():
            ends = np.percentile(resampled.per_class[name][:, at], [2.5, 97.5])
            assert (value.low, value.high) == pytest.approx(ends), (label, name)


def test_calibration_error_has_the_basic_bootstrap():
    # far too sure of itself: the error is 0.4
    rng = np.random.default_rng(0)
    made = binary(np.where(rng.random(200) < 0.5, 0.95, 0.05), rng.integers(2, size=200))
    found = estimate_metrics(made, 300).overall["calibration_error"]
    low, high = np.percentile(bootstrap_metrics(made, 300).overall["calibration_error"], [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((2 * found.value - high, 2 * found.value - low))
    assert found.method == "basic bootstrap of patients"


def test_calibration_error_that_never_varies_has_no_interval():
    found = estimate_metrics(binary([0.0, 1.0] * 10, [0, 1] * 10), 100).overall["calibration_error"]
    assert found.value == 0
    assert math.isnan(found.low)
    assert found.reason.startswith("the same in every resample")


def test_a_calibration_error_stays_a_share():
    made = binary(np.random.default_rng(0).random(15), [0, 1, 1] * 5)
    found = estimate_metrics(made, 300).overall["calibration_error"]
    assert 0 <= found.low <= found.high <= 1


def test_perfect_predictions():
    found = estimate_metrics(sample(2, 40, 0, "perfect"), 100).overall
    assert (found["accuracy"].low, found["accuracy"].high) == wilson_interval(40, 40)
    assert found["auroc_macro"].value == pytest.approx(1)
    assert math.isnan(found["auroc_macro"].low)
    assert found["auroc_macro"].reason == "the same in every resample, from which no interval can be told"


def test_perfect_predictions_of_patients_with_several_images():
    made = called([0] * 12 + [1] * 12, [0] * 12 + [1] * 12, groups=np.repeat(np.arange(8), 3))
    found = estimate_metrics(made, 100).overall
    assert found["accuracy"].method == "Wilson, patients for images"
    assert (found["accuracy"].low, found["accuracy"].high) == wilson_interval(8, 8)
    assert (found["sensitivity"].low, found["sensitivity"].high) == wilson_interval(4, 4)
    assert (found["sensitivity"].n, found["accuracy"].n) == (12, 24)


def test_each_value_has_the_number_of_images_it_is_about():
    found = estimate_metrics(called([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]), 100)
    n = {name: value.n for name, value in found.overall.items()}
    assert (n["accuracy"], n["sensitivity"], n["specificity"], n["ppv"], n["npv"]) == (10, 6, 4, 5, 5)
    assert (n["auroc_macro"], n["mcc"], n["f1_positive"]) == (10, 10, 10)
    assert [found.per_class[label]["sensitivity"].n for label in "ab"] == [4, 6]
    assert (found.images, found.patients) == (10, 10)


def reasons(estimates):
    return {name: value.reason for name, value in estimates.items() if math.isnan(value.value)}


def test_reasons_with_an_absent_class():
    found = estimate_metrics(called([0, 0, 1], [0, 1, 1], classes=3), 100)
    absent, never = "no image is of class c", "class c was never predicted"
    assert reasons(found.overall) == {
        "balanced_accuracy": absent, "precision_macro": never, "recall_macro": absent, "f1_macro": absent,
        "auroc_macro": absent, "average_precision_macro": absent,
    }  # fmt: skip
    assert reasons(found.per_class["c"]) == {
        "sensitivity": absent, "ppv": never, "f1": absent, "auroc": absent, "average_precision": absent
    }  # fmt: skip
    assert reasons(found.per_class["a"]) == {}


def test_reasons_with_a_class_never_predicted():
    found = estimate_metrics(called([0, 0, 1, 1], [0, 0, 0, 0]), 100)
    never, always = "class b was never predicted", "every image was predicted as class a"
    assert reasons(found.overall) == {
        "ppv": never, "precision_macro": never, "precision_weighted": never, "npv_macro": always,
        "mcc": "all images are of one class or were predicted as one",
    }  # fmt: skip
    assert reasons(found.per_class["a"]) == {"npv": always}


def test_reasons_with_images_of_one_class():
    found = estimate_metrics(called([0, 0, 0], [0, 1, 0]), 100, prevalence=0.1)
    absent, alone = "no image is of class b", "every image is of class a"
    assert reasons(found.per_class["a"]) == {"specificity": alone, "auroc": alone, "average_precision": alone}
    assert reasons(found.overall) == {
        "sensitivity": absent, "f1_positive": absent, "average_precision_positive": absent,
        "balanced_accuracy": absent, "recall_macro": absent, "f1_macro": absent, "specificity_macro": alone,
        "auroc_macro": f"{alone}; {absent}", "average_precision_macro": f"{alone}; {absent}",
        "auroc_weighted": alone, "average_precision_weighted": alone,
        "mcc": "all images are of one class or were predicted as one",
        "ppv_at_prevalence": absent, "npv_at_prevalence": absent,
    }  # fmt: skip


def test_a_prevalence_at_which_nothing_would_be_called_positive():
    found = estimate_metrics(called([0, 0, 1], [0, 0, 0]), 100, prevalence=0.1).overall
    assert found["ppv_at_prevalence"].reason == "nothing would be called so"
    assert found["npv_at_prevalence"].value == pytest.approx(0.9)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 6, 40])
def test_nothing_is_missing_without_a_reason(classes, kind, n):
    found = estimate_metrics(sample(classes, n, 0, kind), 100, prevalence=0.1 if classes == 2 else None)
    for value in [*found.overall.values(), *(one for own in found.per_class.values() for one in own.values())]:
        assert math.isnan(value.low) == math.isnan(value.high) == bool(value.reason) == (not value.method)
        if math.isnan(value.value):
            assert math.isnan(value.low)
        if not math.isnan(value.low):
            assert value.low < value.high


def test_what_many_resamples_do_not_define_has_no_interval():
    # the only image called positive is not drawn in 0.9^10 = 35 % of the resamples
    found = estimate_metrics(called([0] * 10 + [1] * 10, [0] * 10 + [1] + [0] * 9), 500)
    ppv_macro = found.overall["precision_macro"]
    assert ppv_macro.value == pytest.approx((10 / 19 + 1) / 2)
    assert math.isnan(ppv_macro.low)
    share = int(ppv_macro.reason.removeprefix("not defined in ").split("%")[0])
    assert share == pytest.approx(35, abs=9)


def test_a_seed_gives_the_same_estimates():
    made = sample(3, 40, 0, "skilled")
    assert estimate_metrics(made, 200, seed=1).overall["mcc"] == estimate_metrics(made, 200, seed=1).overall["mcc"]
    assert estimate_metrics(made, 200, seed=1).overall["mcc"] != estimate_metrics(made, 200, seed=2).overall["mcc"]


def test_no_images():
    assert estimate_metrics(predictions(np.zeros((0, 2)), [])) == Metrics(0, 0, {}, {})


def test_as_text():
    assert str(Estimate(math.nan)) == "NaN"
    assert str(Estimate(0.25)) == "0.250"
    assert str(Estimate(0.25, 0.1, 0.5)) == "0.250 [0.100, 0.500]"
