"""Backbones, heads, freezing, and parts that do not fit."""

import sys

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from medclf.models import network as networks
from medclf.models.backbones import ResNet, SmallCNN
from medclf.utils.errors import ConfigError

MEAN, SD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def build_network(model, channels, size, classes, trust_code=True):
    return networks.build_network(model, MEAN[:channels], SD[:channels], size, classes, trust_code)


def config(name="cnn", frozen=False, **head):
    backbones = {
        "cnn": {"_target_": "medclf.models.backbones.SmallCNN", "channels": [4, 8]},
        "resnet18": {"_target_": "medclf.models.backbones.ResNet", "name": "resnet18"},
    }
    return {
        "backbone": backbones[name],
        "head": {"_target_": "torch.nn.Linear", **head},
        "activation": "softmax",
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


class Maps(nn.Module):
    """Ends in maps of normalised features, as many backbones do."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_channels, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def with_maps(**changes):
    return config() | {"backbone": {"_target_": f"{__name__}.Maps"}} | changes


def some_images(channels=1, size=32):
    return torch.randint(0, 255, (4, channels, size, size), dtype=torch.uint8)


def test_maps_are_averaged():
    network = build_network(with_maps(), 1, 32, 3).eval()
    images = some_images()
    maps = network.backbone((images / 255 - MEAN[0]) / SD[0])
    assert maps.shape == (4, 6, 15, 15)
    expected = network.head(maps.sum((2, 3)) / 225)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_sigmoid_is_the_logit_of_the_second_class():
    network = build_network(config() | {"activation": "sigmoid"}, 1, 32, 2).eval()
    assert network.head.out_features == 1
    images = some_images()
    z = network.head(network.features(images))[:, 0]
    logits = network(images)
    assert torch.equal(logits, torch.stack([torch.zeros(4), z], 1))
    torch.testing.assert_close(logits.softmax(1), torch.stack([1 - z.sigmoid(), z.sigmoid()], 1))


def test_freeze_and_unfreeze():
    network = build_network(with_maps(), 1, 32, 2)
    norm = network.backbone.layers[1]

    def learns():
        return [any(p.requires_grad for p in part.parameters()) for part in (network.backbone, network.head)]

    assert learns() == [True, True]
    network.freeze()
    assert learns() == [False, True]
    for mode in (True, False):
        network.train(mode)
        assert (norm.training, network.head.training) == (False, mode)
    network.unfreeze()  # in evaluation mode, where it stays
    assert learns() == [True, True]
    assert not norm.training
    network.train()
    assert norm.training
    network.freeze()
    network.unfreeze()
    assert norm.training


@pytest.mark.parametrize(("frozen", "unfreeze_at"), [(True, None), (True, 3), (False, 3)])
def test_a_backbone_that_learns_later_begins_frozen(frozen, unfreeze_at):
    network = build_network(with_maps(frozen=frozen, unfreeze_at=unfreeze_at), 1, 32, 2)
    assert network.frozen
    assert not network.backbone.layers[1].training
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())


def test_logits_are_float32_under_autocast():
    network = build_network(config(), 1, 32, 2).eval()
    images = some_images()
    with torch.autocast("cpu", torch.bfloat16):
        features, logits = network.features(images), network(images)
    assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, network.head(features.float()))


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
    "head of another size": (
        config(out_features=5),
        "gives (5,) outputs for an image; model.activation=softmax with 2 classes needs 2",
    ),
    "head of another input": (
        config(in_features=3),
        "model.head: cannot take the 392 features that model.backbone gives",
    ),
    "unknown head": (
        {**config(), "head": {"_target_": "medclf.models.heads.Nothing"}},
        "heads.Nothing: cannot be imported: module 'medclf.models.heads' has no",
    ),
    "network that is no ResNet": (
        config("resnet18") | {"backbone": {"_target_": "medclf.models.backbones.ResNet", "name": "vgg11"}},
        "model.backbone.name=vgg11: must be one of 'resnet18'",
    ),
    "hidden layer of nothing": (
        config(_target_="medclf.models.heads.MLPHead", hidden=[4, 0]),
        "model.head.hidden.1=0: must be at least 1",
    ),
    "unknown argument": (config(dropuot=0.5), "dropuot"),
    "backbone that gives no features": (
        {**config(), "backbone": {"_target_": f"{__name__}.WithoutImages"}},
        "gives () for images of (2, 1, 32, 32)",
    ),
    "backbone that is no network": (
        {**config(), "backbone": {"_target_": "builtins.dict"}},
        "is not a torch.nn.Module",
    ),
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


@pytest.mark.parametrize("model", [config(out_features=1), config() | {"activation": "sigmoid"}])
def test_one_output_for_three_classes(model):
    with pytest.raises(ConfigError) as error:
        build_network(model, 1, 32, 3)
    gives = "model.head: gives (1,) outputs for an image; model.activation=softmax with 3 classes needs 3"
    assert gives in str(error.value) or "one logit tells two classes apart, the dataset has 3" in str(error.value)


def test_code_that_is_not_known_is_not_imported_without_trust(monkeypatch):
    model = {**config(), "head": {"_target_": "antigravity.Head"}}
    with pytest.raises(ConfigError, match=r"model\.head\._target_=antigravity\.Head: .* add trust_code=true"):
        build_network(model, 1, 32, 2, trust_code=False)
    assert "antigravity" not in sys.modules
