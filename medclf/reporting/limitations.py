"""What an evaluation cannot tell, said in words beside its figures."""

import math

import numpy as np

from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.predictions import Predictions
from medclf.metric_registry import MAX_SHOWN_CLASSES
from medclf.reporting.run_description import RunSummary
from medclf.utils.errors import format_list

FEW_PATIENTS = 30
WIDE = 0.1


def list_limitations(evaluation: Evaluation, about: RunSummary) -> list[str]:
    """Return the limitations as sentences; the general ones come last."""
    test, lines = evaluation.test, [*about.notes, *evaluation.remarks]
    lines += _small_classes(test)
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
    named = (f"{label} {(test.target == at).mean():.0%}" for at, label in enumerate(test.classes))
    shares = format_list(named, MAX_SHOWN_CLASSES)
    lines.append(
        f"PPV, NPV and accuracy hold for the shares of the test images ({shares}); elsewhere they differ "
        "(evaluation.prevalence=P gives them at another share)."
    )
    lines.append("Intervals by the bootstrap take the shares of the classes among the test images as given.")
    lines.append("The intervals tell of other patients from the same source, not of other hospitals or scanners.")
    again = "These members alone: others give" if about.members else "One training with one seed: another one gives"
    lines.append(f"{again} other figures.")
    lines.append("A research tool, no medical device.")
    return lines


def _small_classes(test: Predictions) -> list[str]:
    """Return a sentence for each class with few patients, or one for all of them where there are many classes."""
    patients = {label: len(np.unique(test.groups[test.target == at])) for at, label in enumerate(test.classes)}
    absent = [label for label, count in patients.items() if count == 0]
    few = {label: count for label, count in patients.items() if 0 < count < FEW_PATIENTS}
    if len(absent) + len(few) <= MAX_SHOWN_CLASSES:
        return [
            f"No test image is of class {label}, so its performance cannot be estimated."
            if label in absent
            else f"Only {patients[label]} test patients are of class {label}: its intervals are wide, and rough."
            for label in patients
            if label in absent or label in few
        ]
    lines = [f"{len(few)} classes have fewer than {FEW_PATIENTS} test patients; their intervals are wide and rough."]
    if absent:
        lines.append(f"{len(absent)} classes have no test images, so their performance cannot be estimated.")
    return lines
