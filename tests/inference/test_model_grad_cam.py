"""The maps for a report's pages are those of the network that decided, in one size."""

from types import SimpleNamespace

import numpy as np
import torch
from test_grad_cam_overlay import half, model_of, part

from medclf.inference.grad_cam import build_model_activation, class_activation
from medclf.inference.probability_models import CalibratedNetwork, CascadeModel
from medclf.models.network import Network


def of(joint, *sides):
    return SimpleNamespace(
        classifier=model_of(joint).classifier, forms=[SimpleNamespace(image_size=side) for side in sides]
    )


def test_each_image_has_the_map_of_the_stage_that_decided():
    first, second = part(0), part(1)
    wide = np.repeat(np.repeat(half(), 2, 1), 2, 2)
    found = build_model_activation(
        of(CascadeModel(first, second, gate=0, diseases=[1, 0]), 8, 16), lambda _: (half(), wide)
    )(["a", "b", "c"], [0, 1, 2])
    assert found.shape == (3, 8, 8)
    left, right = (slice(0, 3), slice(5, 8))
    for one, bright in zip(found, (left, right, left), strict=True):
        dim = right if bright == left else left
        assert one[:, bright].min() > 0.9
        assert one[:, dim].max() < 0.1
    assert np.array_equal(found[0], class_activation(first.network, torch.from_numpy(half()[None]), [0])[0])


def test_without_feature_maps_there_are_none():
    flat = CalibratedNetwork(Network(torch.nn.Flatten(), torch.nn.Linear(64, 2), [0.0], [1.0]).eval(), 0)
    assert build_model_activation(of(flat, 8), lambda _: (half(),))(["a"], [1]) is None
