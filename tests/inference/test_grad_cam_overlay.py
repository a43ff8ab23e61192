"""The overlay is of the network that decided, and of what spoke for the class that it found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medclf.inference import grad_cam as module
from medclf.inference.grad_cam import overlay_grad_cam
from medclf.inference.probability_models import (
    CalibratedNetwork,
    CascadeModel,
    Classifier,
    EnsembleModel,
    FlipAveraging,
)
from medclf.models.network import Network


class Dark(nn.Module):
    """Two maps: the image, and its negative."""

    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            self.same.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            self.same.bias.copy_(torch.tensor([0.0, 1.0]))

    def forward(self, images):
        return self.same(images)


def part(at=0, classes=2):
    head = nn.Linear(2, classes, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2)[[index % 2 for index in range(classes)]])
    return CalibratedNetwork(Network(Dark(), head, [0.0], [1.0]).eval(), at)


def model_of(joint):
    return SimpleNamespace(classifier=Classifier(joint, 1.0, None, None))


def half():
    """Bright on its left."""
    image = np.zeros((1, 8, 8), np.uint8)
    image[..., :4] = 255
    return image


def test_what_spoke_for_a_class_is_bright():
    for predicted, bright in ((0, slice(0, 4)), (1, slice(4, 8))):
        found = overlay_grad_cam(model_of(part()), (half(),), predicted)
        assert (found.shape, found.dtype) == ((8, 8, 3), np.uint8)
        heat = found.astype(float) - half().transpose(1, 2, 0) / 2  # half of each
        dim = slice(4, 8) if bright.start == 0 else slice(0, 4)
        assert heat[:, bright].mean() > heat[:, dim].mean() + 50


@pytest.mark.parametrize(("predicted", "network", "place"), [(0, "first", 1), (1, "second", 2), (2, "second", 0)])
def test_of_a_cascade_the_stage_that_decided(monkeypatch, predicted, network, place):
    first, second, other = part(0), part(1, 3), part(1, 3)
    cascade = CascadeModel(EnsembleModel([first, other]), FlipAveraging(second), gate=1, diseases=[2, 0])
    asked = []

    def recorded(network, images, classes):
        asked.append((network, images.shape, list(classes)))

    monkeypatch.setattr(module, "class_activation", recorded)
    seen = (np.zeros((1, 8, 8), np.uint8), np.zeros((1, 16, 16), np.uint8))
    assert overlay_grad_cam(model_of(cascade), seen, predicted) is None
    ((found, shape, classes),) = asked
    assert found is {"first": first, "second": second}[network].network
    assert shape == ((1, 1, 8, 8) if network == "first" else (1, 1, 16, 16))
    assert classes == [place]


def test_without_feature_maps():
    flat = CalibratedNetwork(Network(nn.Flatten(), nn.Linear(64, 2), [0.0], [1.0]).eval(), 0)
    assert overlay_grad_cam(model_of(flat), (half(),), 1) is None
