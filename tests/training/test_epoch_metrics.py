"""The metrics of an epoch against scikit-learn, and against those of the evaluation."""

import math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
import torch

from medclf.evaluation.metrics import compute_metrics
from medclf.evaluation.predictions import predictions_table, select_split
from medclf.metric_registry import metric_names
from medclf.training.epoch_metrics import build_epoch_metrics

CLASSES = ["a", "b", "c", "d"]


def sample(classes, n, seed, kind):
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(classes), rng.integers(classes, size=n)])[:n]
    if kind == "absent":
        target = np.minimum(target, classes - 2)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), target] += {"random": 0, "perfect": 100, "inverted": -100}.get(kind, 1.5)
    if kind == "tied":
        logits = np.round(logits)
    if kind == "never":
        logits[:, 0] -= 1000
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, target


def of(probabilities, target, positive=None):
    names = CLASSES[: probabilities.shape[1]]
    return build_epoch_metrics(torch.from_numpy(probabilities), torch.from_numpy(target), names, positive)


def called(target, predicted, classes=2):
    probabilities = np.full((len(target), classes), 0.1 / (classes - 1))
    probabilities[range(len(target)), predicted] = 0.9
    return of(probabilities, np.asarray(target))


def expected(probabilities, target, positive):
    predicted = probabilities.argmax(1)
    count = probabilities.shape[1]
    if count > 2:
        auroc = reference.roc_auc_score(target, probabilities, multi_class="ovr", average="macro")
    else:
        auroc = reference.roc_auc_score(target == positive, probabilities[:, positive])
    values = {
        "accuracy": reference.accuracy_score(target, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(target, predicted),
        "precision_macro": reference.precision_score(target, predicted, average="macro", zero_division=np.nan),
        "recall_macro": reference.recall_score(target, predicted, average="macro"),
        "f1_macro": reference.f1_score(target, predicted, average="macro"),
        "auroc_macro": auroc,
    }
    if count == 2:
        truth, call = target == positive, predicted == positive
        values |= {
            "sensitivity": reference.recall_score(truth, call),
            "specificity": reference.recall_score(~truth, ~call),
            "ppv": reference.precision_score(truth, call),
            "f1_positive": reference.f1_score(truth, call),
        }
    return values


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "skilled", "perfect", "inverted", "tied"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_scikit_learn(classes, kind, seed):
    probabilities, target = sample(classes, 60, seed, kind)
    assert set(probabilities.argmax(1)) == set(range(classes))
    values = of(probabilities, target, CLASSES[seed % 2] if classes == 2 else None)
    assert values == pytest.approx(expected(probabilities, target, seed % 2), abs=1e-6)
    assert set(values) == set(metric_names(classes))
    assert all(type(value) is float for value in values.values())


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "skilled", "perfect", "inverted", "tied", "absent", "never"])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_the_same_as_the_evaluation_where_defined_or_not(classes, kind, n):
    probabilities, target = sample(classes, n, 0, kind)
    names = CLASSES[:classes]
    columns = {"path": range(n), "class": np.asarray(names)[target], "group": range(n), "split": "test"}
    evaluated = select_split(predictions_table(pd.DataFrame(columns), probabilities, names), "test")
    overall = compute_metrics(evaluated, np.ones((1, n))).overall
    for name, value in of(probabilities, target).items():
        assert value == pytest.approx(float(overall[name][0]), abs=1e-6, nan_ok=True), name


def test_the_last_class_is_the_positive_one_unless_said():
    probabilities, target = sample(2, 50, 0, "skilled")
    assert of(probabilities, target) == of(probabilities, target, "b")
    assert of(probabilities, target, "a")["sensitivity"] == of(probabilities, target, "b")["specificity"]


def undefined(values):
    return {name for name, value in values.items() if math.isnan(value)}


def test_hand_calculation():
    # true a: 3 of 4 right; true b, the positive one: 4 of 6 right
    values = called([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    assert values["accuracy"] == pytest.approx(0.7)
    assert values["sensitivity"] == pytest.approx(4 / 6)
    assert values["specificity"] == pytest.approx(3 / 4)
    assert values["balanced_accuracy"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert values["ppv"] == pytest.approx(4 / 5)


def test_absent_class():
    found = undefined(called([0, 0, 1], [0, 1, 1], classes=3))
    assert found == {"balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro"}


def test_class_never_predicted():
    assert undefined(called([0, 0, 1, 1], [0, 0, 0, 0])) == {"precision_macro", "ppv"}


def test_saturated_probabilities_keep_their_order():
    probabilities = torch.tensor([[0.0, 30.0], [0.0, 31.0], [0.0, 32.0], [0.0, 33.0]]).double().softmax(1)
    values = build_epoch_metrics(probabilities, torch.tensor([0, 0, 1, 1]), CLASSES[:2])
    assert len(set(probabilities[:, 1].float().tolist())) == 1
    assert values["auroc_macro"] == pytest.approx(1)
