"""Whether a probability of 0.8 comes true eight times of ten, and how to make it so."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from medclf.evaluation.metrics import image_losses
from medclf.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Temperature:
    """What the logits are divided by; above 1 the network was too sure of itself. ``words`` say how it was found."""

    value: float
    words: str


def fit_temperature(validation: Predictions) -> Temperature:
    """Fit the temperature with the lowest log loss on validation, 0.05 to 20 (Guo et al., ICML 2017).

    It is 1, and ``words`` say so, where nothing can be fitted: validation has one class only, or no image of it is
    misclassified, for which no temperature is too low.
    """
    present = np.unique(validation.target)
    if len(present) < 2:
        return Temperature(1.0, "1, since validation has no images of two classes to fit it on")
    own = validation.probabilities[np.arange(len(validation)), validation.target]
    if (np.sort(validation.probabilities)[:, -2] < own).all():
        return Temperature(1.0, "1, since every validation image is classified correctly: the surer, the better")

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(validation.probabilities, float(np.exp(log_temperature)))
        return float(image_losses(scaled, validation.target).mean())

    found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-6})
    value = float(np.exp(found.x))
    at_end = min(abs(np.log(value) - np.log(RANGE))) < 1e-3
    ending = ", the end of what is tried" if at_end else ""
    return Temperature(value, f"{value:.3f}, fitted on {len(validation)} validation images{ending}")


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return the softmax of logits / temperature, from the softmax of the logits, shape (n, classes)."""
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return np.asarray(softmax(logits / temperature, axis=1))


def calibrate(predictions: Predictions, temperature: float) -> Predictions:
    """Return predictions with calibrated probabilities; the predicted classes stay."""
    return replace(predictions, probabilities=apply_temperature(predictions.probabilities, temperature))
