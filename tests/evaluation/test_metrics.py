"""Every metric against scikit-learn; what is not defined is NaN with its reason."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
import torch

from medclf.evaluation.metrics import classification_metrics
from medclf.evaluation.names import metric_names

CLASSES = ["a", "b", "c", "d"]


def sample(classes, n, seed, kind):
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(classes), rng.integers(classes, size=n - classes)])
    logits = rng.normal(size=(n, classes))
    if kind == "skilled":
        logits[np.arange(n), target] += 1.5
    elif kind == "perfect":
        logits[np.arange(n), target] += 100
    elif kind == "inverted":
        logits[np.arange(n), target] -= 100
    elif kind == "tied":
        logits = np.round(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, target


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
        "precision_macro": reference.precision_score(target, predicted, average="macro"),
        "recall_macro": reference.recall_score(target, predicted, average="macro"),
        "f1_macro": reference.f1_score(target, predicted, average="macro"),
        "auroc_macro": auroc,
    }
    if count == 2:
        truth, called = target == positive, predicted == positive
        values |= {
            "sensitivity": reference.recall_score(truth, called),
            "specificity": reference.recall_score(~truth, ~called),
            "precision_positive": reference.precision_score(truth, called),
            "f1_positive": reference.f1_score(truth, called),
        }
    return values


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "skilled", "perfect", "inverted", "tied"])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_scikit_learn(classes, kind, seed):
    probabilities, target = sample(classes, 60, seed, kind)
    names = CLASSES[:classes]
    positive = seed % 2
    metrics = classification_metrics(
        torch.from_numpy(probabilities), torch.from_numpy(target), names, names[positive] if classes == 2 else None
    )
    assert not metrics.reasons
    assert metrics.images == 60
    assert metrics.values == pytest.approx(expected(probabilities, target, positive), abs=1e-6)
    assert tuple(metrics.values) == metric_names(classes)


def of(target, predicted, classes=2):
    probabilities = torch.full((len(target), classes), 0.1 / (classes - 1)).double()
    probabilities[range(len(target)), predicted] = 0.9
    return classification_metrics(probabilities, torch.tensor(target), CLASSES[:classes])


def undefined(metrics):
    assert {name for name, value in metrics.values.items() if math.isnan(value)} == set(metrics.reasons)
    return metrics.reasons


def test_hand_calculation():
    # true a: 3 of 4 right; true b, the positive one: 4 of 6 right
    values = of([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]).values
    assert values["accuracy"] == pytest.approx(0.7)
    assert values["sensitivity"] == pytest.approx(4 / 6)
    assert values["specificity"] == pytest.approx(3 / 4)
    assert values["balanced_accuracy"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert values["precision_positive"] == pytest.approx(4 / 5)


def test_each_value_has_the_number_of_images_it_is_about():
    n = of([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]).n
    assert (n["accuracy"], n["sensitivity"], n["specificity"], n["precision_positive"]) == (10, 6, 4, 5)


def test_absent_class():
    reasons = undefined(of([0, 0, 1], [0, 1, 1], classes=3))
    assert reasons["auroc_macro"] == "no image is of class c"
    assert set(reasons) == {"balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro"}


def test_class_never_predicted():
    assert undefined(of([0, 0, 1, 1], [0, 0, 0, 0])) == {
        "precision_macro": "class b was never predicted",
        "precision_positive": "class b was never predicted",
    }


def test_no_positive_image():
    reasons = undefined(of([0, 0, 0], [0, 1, 0]))
    assert reasons["sensitivity"] == "no image is of class b"
    assert "specificity" not in reasons


def test_one_image():
    metrics = of([1], [1])
    assert metrics.values["accuracy"] == 1
    assert "auroc_macro" in undefined(metrics)


def test_saturated_probabilities_keep_their_order():
    logits = torch.tensor([[0.0, 30.0], [0.0, 31.0], [0.0, 32.0], [0.0, 33.0]]).double()
    probabilities = logits.softmax(1)
    metrics = classification_metrics(probabilities, torch.tensor([0, 0, 1, 1]), CLASSES[:2])
    assert len(set(probabilities[:, 1].float().tolist())) == 1
    assert metrics.values["auroc_macro"] == pytest.approx(1)
