"""What a model says of an image, in sentences."""

import math

from medclf.inference.loading import Model
from medclf.inference.ood import Novelty
from medclf.inference.predictor import Found


def percent(share: float) -> str:
    """A share from 0 to 1; what is not certain is never called 0 or 100 %."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def threshold_of(model: Model) -> float | None:
    """Of two classes the threshold of the positive one's calibrated probability, None where there is none such.

    It parts the same images as that of the network's own probability does, since with two classes the temperature
    changes no order.
    """
    threshold = model.facts.operating_point.threshold
    if threshold is None or len(model.classes) != 2 or model.facts.gate is None:
        return None
    if not 0 < threshold < 1:
        return threshold
    return 1 / (1 + math.exp(-math.log(threshold / (1 - threshold)) / model.facts.temperature))


def why(model: Model, found: Found) -> str:
    """How the class of the first image was decided."""
    gate, threshold = model.facts.gate, model.facts.operating_point.threshold
    if threshold is None or gate is None:
        return "The most probable class is decided for; this model has no threshold."
    place = model.classes.index(gate)
    reached = "below" if found.predicted[0] == place else "at or above"
    calibrated = threshold_of(model)
    if calibrated is None:
        together = 1 - float(found.uncalibrated[0, place])
        return (
            f"All classes but {gate} have together {percent(together)} before calibration, {reached} the threshold of "
            f"{percent(threshold)}."
        )
    other = 1 - place
    name, probability = model.classes[other], percent(float(found.probabilities[0, other]))
    return f"The probability of {name}, {probability}, is {reached} the threshold of {percent(calibrated)}."


def likeness(model: Model, found: Found) -> str:
    """Whether the first image is like those that the model was trained on."""
    if model.novelty is None:
        return "This model cannot tell whether an image is like those that it was trained on."
    told = f"the distance is {found.distance[0]:.4g}, the limit {model.novelty.threshold:.4g}. {_alarms(model.novelty)}"
    if found.unlike[0]:
        return f"The image does not look like those that the model was trained on: {told}"
    return f"The image looks like those that the model was trained on: {told}"


def _alarms(novelty: Novelty) -> str:
    """How often images of the right kind are called unlike."""
    splits = {
        "validation": (novelty.false_alarms, novelty.validation),
        "test": (novelty.test_alarms, novelty.test),
    }
    told = [f"{few} of {n} {split} images ({percent(few / n)})" for split, (few, n) in splits.items() if n]
    return f"False alarms: {', '.join(told) or 'not known'}."
