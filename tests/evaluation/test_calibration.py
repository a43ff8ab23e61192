"""The temperature is found again, and never makes validation worse."""

import numpy as np
import pytest
from helpers.prediction_samples import KINDS, predictions, sample
from scipy.optimize import brentq
from scipy.special import softmax

from medclf.evaluation.calibration import RANGE, apply_temperature, calibrate, fit_temperature
from medclf.evaluation.metrics import image_losses


def drawn_by(logits, seed):
    """A class for each row, drawn by the probabilities that the logits give."""
    probabilities = softmax(logits, axis=1)
    dice = np.random.default_rng(seed).random((len(logits), 1))
    return np.minimum((dice > probabilities.cumsum(1)).sum(1), logits.shape[1] - 1)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_known_temperature_is_found(true, classes):
    logits = np.random.default_rng(0).normal(0, 2, (40_000, classes))
    made = predictions(softmax(logits * true, axis=1), drawn_by(logits, 1))
    # the standard error is about 0.01 of the temperature
    assert fit_temperature(made).value == pytest.approx(true, rel=0.05)


def test_the_temperature_is_where_the_slope_of_the_loss_is_nothing():
    logits = np.random.default_rng(0).normal(0, 2, (200, 3))
    target = drawn_by(logits, 1)

    def slope(inverse):
        probabilities = softmax(logits * inverse, axis=1)
        return (logits[np.arange(200), target] - (probabilities * logits).sum(1)).mean()

    made = predictions(softmax(logits, axis=1), target)
    assert fit_temperature(made).value == pytest.approx(1 / brentq(slope, 0.05, 20), rel=1e-4)
    assert fit_temperature(made).words == f"{fit_temperature(made).value:.3f}, fitted on 200 validation images"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_validation_never_gets_worse(kind, classes, seed):
    made = sample(classes, 40, seed, kind)
    value = fit_temperature(made).value
    assert RANGE[0] <= value <= RANGE[1]
    after = calibrate(made, value).probabilities
    before = image_losses(made.probabilities, made.target).mean()
    assert image_losses(after, made.target).mean() <= before + 1e-9


@pytest.mark.parametrize("classes", [2, 4])
def test_a_temperature_of_one_changes_nothing(classes):
    probabilities = sample(classes, 50, 0, "random").probabilities
    assert apply_temperature(probabilities, 1) == pytest.approx(probabilities, abs=1e-15)


def test_the_logits_are_divided():
    logits = np.random.default_rng(0).normal(0, 3, (30, 3))
    assert apply_temperature(softmax(logits, axis=1), 2.5) == pytest.approx(softmax(logits / 2.5, axis=1))


@pytest.mark.parametrize("temperature", [0.05, 1, 20])
def test_probabilities_of_zero_and_one(temperature):
    probabilities = apply_temperature(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), temperature)
    assert probabilities == pytest.approx(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), abs=1e-12)


def test_one_image_that_is_surely_wrong_does_not_decide():
    logits = np.random.default_rng(0).normal(0, 2, (2000, 2))
    made = predictions(softmax(logits, axis=1), drawn_by(logits, 1))
    value = fit_temperature(made).value
    made.probabilities[0] = np.eye(2)[1 - made.target[0]]
    assert fit_temperature(made).value == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("target", [[], [1, 1, 1]])
def test_nothing_to_fit_on(target):
    found = fit_temperature(predictions(np.full((len(target), 2), 0.5), target))
    assert (found.value, found.words) == (1, "1, since validation has no images of two classes to fit it on")


@pytest.mark.parametrize("own", [0.6, 0.99, 1.0])
def test_validation_without_a_mistake(own):
    # the lower the better, without end: any other value would be arbitrary
    target = np.array([0, 1] * 20)
    found = fit_temperature(predictions(np.where(np.eye(2)[target] == 1, own, 1 - own), target))
    assert found.value == 1
    assert found.words.startswith("1, since every validation image is classified correctly")


def test_the_end_of_what_is_tried():
    found = fit_temperature(sample(2, 40, 0, "inverted"))
    assert found.value == pytest.approx(20, rel=1e-3)
    assert found.words == "20.000, fitted on 40 validation images, the end of what is tried"


@pytest.mark.parametrize("classes", [2, 3])
def test_predicted_classes_stay(classes):
    made = sample(classes, 50, 0, "skilled")
    after = calibrate(made, 3.0)
    assert (after.predicted == made.predicted).all()
    assert (after.probabilities.argmax(1) == made.probabilities.argmax(1)).all()
    assert after.probabilities.max(1).mean() < made.probabilities.max(1).mean()
