"""Backbones, heads, freezing, and parts that do not fit."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from medclf.errors import ConfigError
from medclf.models import network as networks
from medclf.models.backbones import ResNet, SmallCNN

MEAN, SD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def build_network(model, channels, size, classes):
    return networks.build_network(model, MEAN[:channels], SD[:channels], size, classes)


def config(name="cnn", frozen=False, **head):
    backbones = {
        "cnn": {"_target_": "medclf.models.backbones.SmallCNN", "channels": [4, 8]},
        "resnet18": {"_target_": "medclf.models.backbones.ResNet", "name": "resnet18"},
    }
    return {
        "backbone": backbones[name],
        "head": {"_target_": "torch.nn.Linear", **head},
        "output": "softmax",
        "frozen": frozen,
        "unfreeze_at": None,
    }


def test_cnn_is_three_convolutions_relus_and_poolings():
    kinds = [type(layer).__name__ for layer in SmallCNN(1).layers]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Conv2d", "ReLU", "AdaptiveMaxPool2d", "Flatten"]


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 32, 2), (3, 48, 4)])
def test_bytes_to_logits(name, channels, size, classes):
    network = build_network(config(name), channels, size, classes)
    images = torch.randint(0, 255, (3, channels, size, size), dtype=torch.uint8)
    logits = network(images)
    assert logits.shape == (3, classes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_images_are_normalised_and_the_backbone_is_torchvisions():
    network = build_network(config("resnet18"), 3, 64, 2).eval()
    reference = resnet18(weights=None).eval()
    reference.load_state_dict({**network.backbone.network.state_dict(), **reference.fc.state_dict(prefix="fc.")})
    reference.fc = nn.Identity()
    images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    mean, sd = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (MEAN, SD))
    expected = network.head(reference((images / 255 - mean) / sd))
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_grey_enters_a_resnet_as_three_equal_channels():
    backbone = ResNet(1, "resnet18").eval()
    grey = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(backbone(grey), backbone.network(grey.repeat(1, 3, 1, 1)))


def test_frozen_backbone_does_not_move():
    network = build_network(config("resnet18", frozen=True), 1, 32, 2).train()
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        loss = network(torch.randint(0, 255, (4, 1, 32, 32), dtype=torch.uint8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())
    assert not any(torch.equal(value, head[name]) for name, value in network.head.state_dict().items())


def test_building_changes_no_batchnorm_statistics():
    network = build_network(config("resnet18"), 1, 32, 2)
    assert network.training
    assert network.backbone.network.bn1.num_batches_tracked == 0


class WithoutImages(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean()


class TwoFeatures(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)).expand(-1, 2)


MISFITS = {
    "head of another size": (config(out_features=5), "gives (5,) outputs for an image, but the dataset has 2 classes"),
    "head of another input": (config(in_features=3), "the network cannot take images of (1, 32, 32)"),
    "unknown head": ({**config(), "head": {"_target_": "medclf.models.heads.Nothing"}}, "model.head: cannot be built"),
    "unknown argument": (config(dropuot=0.5), "dropuot"),
    "backbone that gives no features": (
        {**config(), "backbone": {"_target_": f"{__name__}.WithoutImages"}},
        "gives () for images of (2, 1, 32, 32)",
    ),
    "backbone that is no network": ({**config(), "backbone": {"_target_": "builtins.dict"}}, "is no torch.nn.Module"),
    "frozen without a head that learns": (
        config(_target_="torch.nn.Identity", frozen=True) | {"backbone": {"_target_": f"{__name__}.TwoFeatures"}},
        "the head has no parameters",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_parts_that_do_not_fit(misfit):
    model, message = MISFITS[misfit]
    with pytest.raises(ConfigError) as error:
        build_network(model, 1, 32, 2)
    assert message in str(error.value)
