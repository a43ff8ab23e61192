"""Sentences agree with what the classifier decides, however its threshold and temperature are."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medclf.inference.loading import Model
from medclf.inference.model_metadata import ModelMetadata
from medclf.inference.predictor import PredictedBatch
from medclf.inference.probability_models import Classifier, ProbabilityModel
from medclf.web_demo.prediction_answer import describe_ood, explain_decision, format_percent, format_threshold


class Given(ProbabilityModel):
    """Takes probabilities for images."""

    def forward(self, *images):
        return images[0], images[0].float()


def model(threshold=None, temperature=1.0, gate=None, classes=("well", "ill"), novelty=None):
    point = {"rule": "youden", "threshold": threshold, "words": "as chosen", "gate": gate}
    content = {"classes": list(classes), "operating_point": point, "temperature": temperature, "dataset": "ours"}
    facts = ModelMetadata.model_validate({**content, "positive": "ill" if len(classes) == 2 else None})
    place = None if facts.gate is None else facts.classes.index(facts.gate)
    return Model(Path("best.json"), facts, Classifier(Given(), temperature, threshold, place), novelty=novelty)


def found(of, own, distance=np.nan, unlike=False):
    outputs = of.classifier(torch.tensor([own], dtype=torch.float64))
    calibrated, predicted, uncalibrated, _ = (value.numpy() for value in outputs)
    return PredictedBatch(calibrated, predicted, uncalibrated, np.array([distance]), np.array([unlike]))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("threshold", [0.0, 0.03, 0.5, 0.9, 1.0])
def test_the_threshold_shown_parts_calibrated_probabilities_as_its_own_parts_the_others(threshold, temperature):
    of = model(threshold, temperature)
    for own in np.linspace(0.005, 0.995, 60):
        said = found(of, [1 - own, own])
        assert (said.probabilities[0, 1] >= format_threshold(of)) == (said.predicted[0] == 1)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ([0.9, 0.1], "The probability of ill, 10.0 %, is below the threshold of 20.0 %."),
        ([0.7, 0.3], "The probability of ill, 30.0 %, is at or above the threshold of 20.0 %."),
    ],
)
def test_two_classes(own, words):
    of = model(0.2)
    assert explain_decision(of, found(of, own)) == words


@pytest.mark.parametrize(("own", "reached"), [([0.75, 0.15, 0.1], "below"), ([0.6, 0.3, 0.1], "at or above")])
def test_a_class_is_held_back_of_three(own, reached):
    of = model(0.3, 2.0, "well", ("well", "mild", "grave"))
    assert format_threshold(of) is None
    together = f"{100 * sum(own[1:]):.1f} %"
    said = f"All classes but well have together {together} before calibration, {reached} the threshold of 30.0 %."
    assert explain_decision(of, found(of, own)) == said


def test_no_threshold():
    of = model(classes=("a", "b", "c"))
    assert format_threshold(of) is None
    assert (
        explain_decision(of, found(of, [0.2, 0.5, 0.3]))
        == "The most probable class is decided for; this model has no threshold."
    )


def test_likeness():
    assert "cannot tell" in describe_ood(model(), found(model(), [0.5, 0.5]))
    counts = {"false_alarms": 3, "validation": 60, "test_alarms": 0, "test": 50}
    of = model(novelty=SimpleNamespace(threshold=0.5, **counts))
    rate = "False alarms: 3 of 60 validation images (5.0 %), 0 of 50 test images (0.0 %)."
    like = describe_ood(of, found(of, [0.5, 0.5], 0.25))
    assert like.startswith("The image looks like") and like.endswith(f"distance is 0.25, the limit 0.5. {rate}")
    unlike = describe_ood(of, found(of, [0.5, 0.5], 0.75, True))
    assert unlike.startswith("The image does not look like") and unlike.endswith(rate)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0.0 %"), (1e-9, "< 0.1 %"), (0.0005, "0.1 %"), (0.5, "50.0 %"), (0.9996, "> 99.9 %"), (1, "100.0 %")],
)
def test_what_is_not_certain_is_not_called_so(share, words):
    assert format_percent(share) == words
