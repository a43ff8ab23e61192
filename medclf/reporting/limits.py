"""What an evaluation cannot tell, said in words beside its figures."""

import math

import numpy as np

from medclf.evaluation.evaluate import Evaluation
from medclf.reporting.about import About

FEW_PATIENTS = 30
WIDE = 0.1


def limits(evaluation: Evaluation, about: About) -> list[str]:
    """Sentences; those that always hold come last."""
    test, lines = evaluation.test, [*about.notes, *evaluation.remarks]
    for at, label in enumerate(test.classes):
        patients = len(np.unique(test.groups[test.target == at]))
        if patients == 0:
            lines.append(f"No test image is of class {label}: of it nothing can be said.")
        elif patients < FEW_PATIENTS:
            lines.append(f"Only {patients} test patients are of class {label}: its intervals are wide, and rough.")
    accuracy = evaluation.metrics["test"].overall["accuracy"]
    if accuracy.high - accuracy.low > WIDE and not math.isnan(accuracy.low):
        lines.append(
            f"{len(test)} test images leave the accuracy anywhere between {accuracy.low:.2f} and {accuracy.high:.2f}."
        )
    if evaluation.point.threshold is not None and "val" in evaluation.predictions:
        n = len(evaluation.predictions["val"])
        lines.append(f"Threshold and temperature were chosen on {n} validation images and are no surer than those.")
    if about.novelty is not None:
        lines.append(about.novelty)
    share = ", ".join(f"{label} {(test.target == at).mean():.0%}" for at, label in enumerate(test.classes))
    lines.append(
        f"PPV, NPV and accuracy hold for the shares of the test images ({share}); elsewhere they differ "
        "(evaluation.prevalence=P gives them at another share)."
    )
    lines.append("Intervals by the bootstrap take the shares of the classes among the test images as given.")
    lines.append("The intervals tell of other patients from the same source, not of other hospitals or scanners.")
    again = "These members alone: others give" if about.members else "One training with one seed: another one gives"
    lines.append(f"{again} other figures.")
    lines.append("A research tool, no medical device.")
    return lines
