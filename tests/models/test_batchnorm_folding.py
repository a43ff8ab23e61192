"""A folded network gives what the network gives, and leaves it as it was."""

import copy

import pytest
import torch
from torch import nn

from medclf.models.backbones import ResNet, SmallCNN
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.models.network import Network

ROUNDING = {"rtol": 1e-5, "atol": 1e-4}
"""For features of about 30, that came through twenty layers in float32."""


class Branching(nn.Module):
    """What it does depends on its input's values."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images):
        return self.layers(images) if images.sum() > 0 else self.layers(-images)


def randomised(backbone, features):
    """A network whose BatchNorms, were they left out, would be missed."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
    channels = 1 if getattr(backbone, "grey", False) else 3
    return Network(backbone, nn.Linear(features, 3), [0.5] * channels, [0.2] * channels)


def some_images(network):
    shape = (4, network.mean.shape[1], 64, 64)
    return torch.randint(0, 255, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_resnet_gives_the_same_but_for_rounding(channels):
    network = randomised(ResNet(channels, "resnet18"), 512).eval()
    twin, images = fold_batchnorm(network), some_images(network)
    assert len(norms(network)) == 20
    assert not norms(twin)
    with torch.inference_mode():
        torch.testing.assert_close(twin.features(images), network.features(images), **ROUNDING)
        torch.testing.assert_close(twin(images), network(images), **ROUNDING)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_network_itself_stays_as_it_is(training, frozen):
    network = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), 4)
    if frozen:
        network.freeze()
    network.train(training)
    state, modules = copy.deepcopy(network.state_dict()), list(network.modules())
    modes = [module.training for module in modules]
    twin = fold_batchnorm(network)
    twin(some_images(network)).sum().backward()
    assert not any(module.training for module in twin.modules())
    assert list(network.modules()) == modules
    assert [module.training for module in modules] == modes
    assert list(network.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(("backbone", "features"), [(SmallCNN(3, [4, 8]), 8 * 7 * 7), (Branching(), 4)])
def test_what_has_nothing_to_fold_or_cannot_be_followed_gives_the_very_same(backbone, features):
    network = randomised(backbone, features).eval()
    twin, images = fold_batchnorm(network), some_images(network)
    assert len(norms(twin)) == len(norms(network))
    with torch.inference_mode():
        assert torch.equal(twin.features(images), network.features(images))
        assert torch.equal(twin(images), network(images))
