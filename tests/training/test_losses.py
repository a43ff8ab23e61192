"""The loss against torch's and torchvision's, and by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from medclf.config.schema import LossConfig
from medclf.training.losses import CrossEntropy, class_weights

ALIKE, WEIGHTS = [1.0, 1.0, 1.0], [1.0, 2.5, 0.5]


@pytest.fixture
def logits():
    return torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def target():
    return torch.arange(20) % 3


@pytest.fixture
def z(logits):
    """Logits of the second of two classes."""
    return logits[:, 0]


def of_two(z):
    return torch.stack([torch.zeros_like(z), z], 1)


@pytest.mark.parametrize("weights", [ALIKE, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(logits, target, weights, smoothing):
    expected = functional.cross_entropy(logits, target, torch.tensor(weights), label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(weights, smoothing)(logits, target), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_shares_of_classes(logits, smoothing):
    shares = torch.rand(20, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    expected = functional.cross_entropy(logits, shares, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(ALIKE, smoothing)(logits, shares), expected)


def test_the_weight_of_shares_is_their_mean():
    """Half of class 0 (weight 1), half of class 1 (weight 3), probabilities 1/4 and 3/4."""
    logits = torch.tensor([[0.0, math.log(3)]])
    expected = (0.5 * 1 * math.log(4) + 0.5 * 3 * math.log(4 / 3)) / 2
    assert CrossEntropy([1.0, 3.0])(logits, torch.tensor([[0.5, 0.5]])).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_shares_of_one_class_are_the_class(logits, target, gamma):
    loss = CrossEntropy(WEIGHTS, 0.1, gamma)
    torch.testing.assert_close(loss(logits, functional.one_hot(target, 3).float()), loss(logits, target))


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 2.5]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy(z, weights, smoothing):
    target = torch.arange(20) % 2
    smoothed = target * (1 - smoothing) + smoothing / 2
    # torch's pos_weight weighs the terms, and its mean is by the count; ours by the weights of the images
    terms = functional.binary_cross_entropy_with_logits(
        z, smoothed, pos_weight=torch.tensor(weights[1]), reduction="sum"
    )
    expected = terms / torch.tensor(weights)[target].sum()
    torch.testing.assert_close(CrossEntropy(weights, smoothing)(of_two(z), target), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_and_its_gradient(z, gamma):
    target = torch.arange(20) % 2
    ours, reference = z.clone().requires_grad_(), z.clone().requires_grad_()
    loss = CrossEntropy([1.0, 1.0], gamma=gamma)(of_two(ours), target)
    expected = sigmoid_focal_loss(reference, target.float(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, reference.grad)


def test_focal_loss_of_three_classes_by_hand():
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]).log()
    first, second = 0.3**2 * -math.log(0.7), 0.8**2 * -math.log(0.2)
    target = torch.tensor([0, 1])
    assert CrossEntropy(ALIKE, gamma=2.0)(logits, target).item() == pytest.approx((first + second) / 2)
    assert CrossEntropy(WEIGHTS, gamma=2.0)(logits, target).item() == pytest.approx((first + 2.5 * second) / 3.5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_finite_where_the_network_is_sure(smoothing):
    logits = torch.tensor([[200.0, -200.0], [200.0, -200.0]], requires_grad=True)
    loss = CrossEntropy([1.0, 1.0], smoothing, gamma=0.5)(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().min() > 0.1


def config(weights):
    return LossConfig(name="cross_entropy", class_weights=weights, label_smoothing=0.0)


LABELS = ["b"] * 6 + ["a"] * 3 + ["c"]


def test_weights_that_balance_are_scikit_learns():
    classes = ["c", "a", "b"]
    expected = compute_class_weight("balanced", classes=np.array(classes), y=LABELS)
    assert class_weights(config("auto"), LABELS, classes) == pytest.approx(expected.tolist())


def test_weights_by_name():
    assert class_weights(config({"b": 2.5}), LABELS, ["c", "a", "b"]) == [1.0, 1.0, 2.5]


def test_no_weights():
    assert class_weights(config("none"), LABELS, ["c", "a", "b"]) == [1.0, 1.0, 1.0]
