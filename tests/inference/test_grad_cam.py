"""Maps of what speaks for a class, on networks whose answer is known."""

import numpy as np
import pytest
import torch
from helpers.evaluations import evaluated, seen
from torch import nn

from medclf.inference.grad_cam import build_activation, class_activation, compute_grad_cam, last_feature_maps
from medclf.models.backbones import ResNet, SmallCNN
from medclf.models.network import Network


class Bright(nn.Module):
    """Two maps: where the image is brighter than the mean, and where it is darker."""

    def __init__(self):
        super().__init__()
        self.bright = nn.Conv2d(1, 2, 1)
        self.bright.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        self.bright.bias.data.zero_()

    def forward(self, images):
        return torch.relu(self.bright(images)).mean((2, 3))


class Flat(nn.Module):
    """No maps at all."""

    def forward(self, images):
        return images.flatten(1)


def network(outputs=2, frozen=False):
    head = nn.Linear(2, outputs, bias=False)
    head.weight.data = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[-outputs:]
    if outputs == 1:
        head.weight.data = torch.tensor([[1.0, -1.0]])
    made = Network(Bright(), head, [0.5], [0.5])
    if frozen:
        made.freeze()
    return made


@pytest.fixture
def corners():
    """Grey images with a bright square top left and a dark one bottom right."""
    images = torch.full((11, 1, 16, 16), 128, dtype=torch.uint8)
    images[:, :, :4, :4] = 255
    images[:, :, -4:, -4:] = 0
    return images


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("outputs", [2, 1])
def test_the_map_peaks_where_the_class_is(corners, outputs, frozen):
    classes = [1, 0] * 5 + [1]
    maps = class_activation(network(outputs, frozen), corners, classes)
    assert maps.shape == (11, 16, 16)
    assert maps.dtype == np.float32
    for one, label in zip(maps, classes, strict=True):
        bright, dark, between = one[:4, :4], one[-4:, -4:], one[:4, -4:]
        strong, weak = (bright, dark) if label == 1 else (dark, bright)
        assert strong.mean() > 0.9
        assert max(weak.max(), between.max()) < 0.05
        assert one.max() == pytest.approx(1)
        assert one.min() >= 0


def test_what_speaks_against_a_class_only_is_nothing(corners):
    corners[:, :, -4:, -4:] = 128
    assert not class_activation(network(), corners, [0] * 11).max(initial=0) > 0.05


def test_the_network_stays_as_it_was(corners):
    made = Network(SmallCNN(1, (4, 8)), nn.Sequential(nn.BatchNorm1d(392), nn.Linear(392, 2)), [0.5], [0.5])
    for training in (True, False):
        made.train(training)
        before = {name: value.clone() for name, value in made.state_dict().items()}
        class_activation(made, corners, [1] * 11)
        assert made.training == training
        assert made.head[0].training == training
        assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in made.parameters())
        assert not any(module._forward_hooks for module in made.modules())


def test_a_frozen_backbone_stays_in_evaluation_mode(corners):
    made = network(frozen=True).train()
    class_activation(made, corners, [1] * 11)
    assert made.training
    assert not made.backbone.training
    assert not any(parameter.requires_grad for parameter in made.backbone.parameters())


def test_the_last_maps_of_our_networks():
    image = torch.zeros((1, 1, 64, 64), dtype=torch.uint8)
    resnet = Network(ResNet(1, "resnet18"), nn.Linear(512, 2), [0.5], [0.5]).eval()
    assert last_feature_maps(resnet, image) is resnet.backbone.network.layer4
    small = Network(SmallCNN(1, (4, 8)), nn.Linear(392, 2), [0.5], [0.5])
    assert last_feature_maps(small, image) is small.backbone.layers[5]
    maps = Network(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True)), nn.Linear(3, 2), [0.5], [0.5])
    assert last_feature_maps(maps, image) is maps.backbone
    assert class_activation(maps, image, [1]).shape == (1, 64, 64)


def test_a_backbone_without_maps_has_none(corners):
    made = Network(Flat(), nn.Linear(256, 2), [0.5], [0.5])
    assert last_feature_maps(made, corners[:1]) is None
    assert class_activation(made, corners, [1] * 11) is None
    assert compute_grad_cam(evaluated(["a", "b"]).test, seen, build_activation(made, seen), 2) is None


def test_images_drawn_at_random_and_the_most_confident_mistakes():
    test = evaluated(["a", "b"]).test
    found = compute_grad_cam(test, seen, build_activation(network(), seen), 5, seed=1)
    again = compute_grad_cam(test, seen, build_activation(network(), seen), 5, seed=1)
    assert found.paths == again.paths
    assert (found.maps == again.maps).all()
    assert not any(path.endswith("7.png") for path in found.paths)
    right = dict(zip(test.table["path"], test.predicted == test.target, strict=True))
    assert found.right == [right[path] for path in found.paths]
    wrong = test.predicted != test.target
    confidence = test.probabilities.max(1)
    worst = test.table["path"][wrong].iloc[np.argsort(-confidence[wrong])][:5]
    shown = [path for path, one in zip(found.paths, found.right, strict=True) if not one]
    assert shown == [path for path in worst if not path.endswith("7.png")]
    assert compute_grad_cam(test, lambda _: None, build_activation(network(), seen), 5) is None
