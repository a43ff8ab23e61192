"""A convolution with what follows it gives what they give one after the other."""

import copy

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace
from torch.nn import functional

from medclf.models.backbones import ResNet
from medclf.models.conv_batchnorm_fusion import FusedConvolution, fold_batchnorm, fuse_convolutions
from medclf.models.network import Network


class Several(nn.Module):
    """Every way to write what can be fused, and what looks like it."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.wrapped = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images):
        one = self.relu(self.first(images))
        two = functional.relu(one + self.second(one))
        kept = self.third(two)
        three = torch.relu(kept) + kept  # the maps are wanted without ReLU too
        four = self.fourth(three)
        return self.relu(self.wrapped(three)) + functional.relu(torch.add(four, three, alpha=2))


class WritesOver(nn.Module):
    """The convolution's input is another one when ReLU comes."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images):
        maps = self.convolution(images)
        return functional.relu(maps + self.relu(images))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def counted(module):
    return sum(isinstance(part, FusedConvolution) for part in module.modules())


@torch.inference_mode()
@pytest.mark.parametrize(("kind", "size", "count", "tolerance"), [(Several, 16, 2, 1e-6), (WritesOver, 8, 0, 0)])
def test_only_what_is_the_same_is_fused(kind, size, count, tolerance):
    network = kind().eval()
    images = torch.randn(2, 3, size, size)
    expected = network(images.clone())
    twin = symbolic_trace(network)
    fuse_convolutions(twin)
    assert counted(twin) == count
    torch.testing.assert_close(twin(images.clone()), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "features", "convolutions"), [("resnet18", 512, 17), ("resnet50", 2048, 49)])
def test_a_resnet(name, features, convolutions):
    """All but those beside a shortcut; in bfloat16 as near to float32 as without."""
    network = Network(ResNet(3, name), nn.Linear(features, 2), [0.5] * 3, [0.2] * 3).eval()
    twin = fold_batchnorm(network)
    assert counted(twin) == convolutions
    images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        exact = network.features(images)
        torch.testing.assert_close(twin.features(images), exact, rtol=1e-4, atol=1e-4 * float(exact.max()))
        with torch.autocast("cpu", torch.bfloat16):
            errors = [(one.features(images).float() - exact).norm() / exact.norm() for one in (network, twin)]
    assert errors[1] < 1.5 * errors[0] + 1e-6


@torch.inference_mode()
def test_a_sum_that_is_broadcast():
    fused = FusedConvolution(nn.Conv2d(3, 2, 3, stride=2, padding=1, dilation=2)).eval()
    images = torch.randn(2, 3, 11, 9)
    maps = fused.convolution(images)
    for other in (torch.randn(maps.shape), torch.randn(1, 2, 1, 1), torch.randn(2, 1, *maps.shape[2:])):
        torch.testing.assert_close(fused(images, other), functional.relu(maps + other), rtol=1e-6, atol=1e-6)


def test_gradients_pass_and_weights_may_become_float64():
    fused = FusedConvolution(nn.Conv2d(3, 2, 3)).eval()
    images = torch.randn(1, 3, 8, 8, requires_grad=True)
    fused(images).sum().backward()
    assert images.grad is not None
    with torch.inference_mode():
        before = fused(images)
        wide = fused.double()(images.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), before, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_images_of_another_size_and_number_and_a_copy(kind):
    """The weights are kept in the order that is best for the maps that came first."""
    fused = FusedConvolution(nn.Conv2d(16, 32, 3, padding=1)).eval().to(kind)
    for shape in ((4, 16, 20, 20), (1, 16, 20, 20), (3, 16, 9, 33)):
        images = torch.randn(shape, dtype=kind)
        expected = functional.relu(fused.convolution(images))
        for one in (fused, copy.deepcopy(fused)):
            torch.testing.assert_close(one(images), expected, rtol=1e-2 if kind == torch.bfloat16 else 1e-5, atol=1e-5)
