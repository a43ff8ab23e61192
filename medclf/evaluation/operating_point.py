"""From which probability on an image is called positive: chosen on validation, before the test is looked at."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medclf.config.schema import EvaluationConfig
from medclf.evaluation.metrics import cumulative_counts
from medclf.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
HALF = 0.5


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold of the positive class's probability, and in words how it was chosen.

    With more than two classes there is none, and the most probable class is predicted; but for a cascade, whose
    ``gate``, the healthy class, is predicted where the others together are less probable than the threshold.
    """

    rule: str
    threshold: float | None
    words: str
    gate: str | None = None


def choose_operating_point(
    validation: Predictions, config: EvaluationConfig, rule: str | None = None
) -> OperatingPoint:
    """Choose the threshold on the validation split.

    ``half``: 0.5. ``youden``: the largest sensitivity + specificity - 1 (Youden 1950). ``sensitivity``: the largest
    specificity that leaves the sensitivity at ``config.target`` or above; ``specificity`` the other way round.
    ``cost``: the smallest mean cost, a missed positive costing ``config.cost`` false alarms, at ``config.prevalence``
    or that of validation. Halfway between two neighbouring probabilities of validation, so that rounding decides
    nothing; of equally good thresholds the middle one.

    With more than two classes, of which one is held back, all others together are the positive one. Where validation
    lacks one of the classes the threshold is 0.5, and ``words`` say so.
    """
    rule = rule or config.operating_point
    if validation.gate is None:
        return OperatingPoint("most probable", None, "the most probable class is predicted")
    point = _chosen(validation.as_detector(), config, rule)
    if validation.positive is not None:
        return point
    gate = validation.classes[validation.gate]
    words = f"{gate} is predicted where the other classes together are less probable than the threshold"
    return replace(point, words=f"{point.words}; {words}, else the most probable of them", gate=gate)


def _chosen(validation: Predictions, config: EvaluationConfig, rule: str) -> OperatingPoint:
    assert validation.positive is not None
    name = validation.classes[validation.positive]
    if rule == "half":
        return OperatingPoint(rule, HALF, f"0.5: {name} is predicted where it is the more probable class")
    truth = validation.target == validation.positive
    if truth.all() or not truth.any():
        return OperatingPoint("half", HALF, f"0.5, since validation has no images of both classes to choose {rule} by")
    thresholds, sensitivity, specificity = _candidates(validation.probabilities[:, validation.positive], truth)
    score, words = _scores(rule, sensitivity, specificity, float(truth.mean()), config)
    best = np.flatnonzero(score >= score.max() - 1e-12)
    chosen = int(best[len(best) // 2])
    threshold = float(thresholds[chosen])
    reached = f"sensitivity {sensitivity[chosen]:.3f}, specificity {specificity[chosen]:.3f} on validation"
    return OperatingPoint(rule, threshold, f"{threshold:.4f}: {words}; {reached} (n = {len(truth)})")


def list_rules(config: EvaluationConfig) -> list[str]:
    """Return the rules to show, the chosen one first."""
    return [config.operating_point, *(rule for rule in RULES if rule != config.operating_point)]


RULES = ("half", "youden", "sensitivity", "specificity", "cost")


def _candidates(scores: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Thresholds from high to low, with sensitivity and specificity at each."""
    true, false = (counts[0] for counts in cumulative_counts(scores, truth, np.ones((1, len(scores)))))
    distinct = np.unique(scores)[::-1]
    lower = np.append(distinct[1:], 0)
    between = (distinct + lower) / 2
    # halfway between two neighbouring floats rounds to one of them, and the lower one would call its own images too
    between = np.where(between > lower, between, distinct)
    none = (1 + distinct[0]) / 2
    thresholds = np.append(none, between)
    sensitivity = np.append(0, true) / true[-1]
    specificity = 1 - np.append(0, false) / false[-1]
    possible = np.full(len(thresholds), True)
    possible[0] = distinct[0] < 1
    return thresholds[possible], sensitivity[possible], specificity[possible]


def _scores(
    rule: str, sensitivity: Floats, specificity: Floats, prevalence: float, config: EvaluationConfig
) -> tuple[Floats, str]:
    if rule == "youden":
        return sensitivity + specificity, "the largest Youden index"
    if rule == "cost":
        prevalence = config.prevalence or prevalence
        missed, alarms = prevalence * (1 - sensitivity), (1 - prevalence) * (1 - specificity)
        return -(config.cost * missed + alarms), (
            f"the smallest cost, a missed positive being worth {config.cost:g} false alarms at a prevalence of "
            f"{prevalence:.3f}"
        )
    held, other = (sensitivity, specificity) if rule == "sensitivity" else (specificity, sensitivity)
    name = "specificity" if rule == "sensitivity" else "sensitivity"
    reached = held >= config.target - 1e-12
    # calling all images, or none, positive reaches any target, unless a negative has a probability of 1
    if not reached.any():
        return held, f"the largest {rule} that validation allows, below {config.target:g}"
    score = np.where(reached, other, -1)
    return score, f"the largest {name} with a {rule} of {config.target:g} or more"
