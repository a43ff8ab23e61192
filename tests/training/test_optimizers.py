"""What learns, at what rate, and from when on."""

import pytest
import torch
from torch import nn

from medclf.models.network import build_network
from medclf.training.optimizers import build_optimizer
from medclf.utils.errors import ConfigError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1, "weight_decay": 0.1}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}


class WithNorm(nn.Sequential):
    def __init__(self, in_channels: int) -> None:
        super().__init__(nn.Conv2d(in_channels, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())


def config(frozen=False, unfreeze_at=None, scale=None, head="torch.nn.Linear"):
    return {
        "backbone": {"_target_": f"{__name__}.WithNorm"},
        "head": {"_target_": head},
        "activation": "softmax",
        "frozen": frozen,
        "unfreeze_at": unfreeze_at,
        "backbone_lr_scale": scale,
    }


def built(model, optimizer=ADAM, classes=3):
    network = build_network(model, [0.5], [0.2], 16, classes, trust_code=True)
    return network, build_optimizer(optimizer, model, network, trust_code=True)


def groups(optimizer):
    return [(group["name"], pytest.approx(group["lr"])) for group in optimizer.param_groups]


def names(network, optimizer):
    """The names of the parameters in each group."""
    by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    return [[by_id[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


BACKBONE = ["backbone.0.weight", "backbone.0.bias", "backbone.1.weight", "backbone.1.bias"]
HEAD = ["head.weight", "head.bias"]


def test_a_frozen_backbone_is_in_no_group():
    network, optimizer = built(config(frozen=True))
    assert groups(optimizer) == [("head", 0.1)]
    assert names(network, optimizer) == [HEAD]


@pytest.mark.parametrize(
    ("model", "lr"),
    [
        (config(), 0.1),
        (config(scale=0.5), 0.05),
        (config(unfreeze_at=2), 0.01),
        (config(frozen=True, unfreeze_at=2), 0.01),
        (config(frozen=True, unfreeze_at=2, scale=0.5), 0.05),
        (config(unfreeze_at=2, scale=1.0), 0.1),
    ],
)
def test_a_group_for_each_part(model, lr):
    network, optimizer = built(model)
    assert groups(optimizer) == [("head", 0.1), ("backbone", lr)]
    assert names(network, optimizer) == [HEAD, BACKBONE]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1]


def test_a_head_without_parameters_has_no_group():
    _, optimizer = built(config(head="torch.nn.Identity"), classes=4)
    assert groups(optimizer) == [("backbone", 0.1)]


def steps(network, optimizer):
    """Three of training; what of backbone and head they left as it was."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(3):
        loss = network(torch.randint(0, 255, (4, 1, 16, 16), dtype=torch.uint8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [name for name, value in network.state_dict().items() if torch.equal(value, before[name])]


@pytest.mark.parametrize("optimizer", [ADAM, SGD])
def test_a_backbone_that_learns_later_does_not_move_before(optimizer):
    network, optimizer = built(config(unfreeze_at=2), optimizer)
    network.train()
    backbone = [name for name in network.state_dict() if name.startswith("backbone.")]
    assert len(backbone) == 7
    assert steps(network, optimizer) == backbone
    network.unfreeze()
    assert steps(network, optimizer) == []


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ({"_target_": "torch.optim.Nothing", "lr": 0.1}, "torch.optim.Nothing"),
        ({"_target_": "torch.optim.Adam", "lr": 0.1, "momentun": 0.9}, "momentun"),
        ({"_target_": "torch.optim.Adam", "lr": 0.1, "weight_decay": -1}, "weight_decay"),
        ({"_target_": "torch.optim.LBFGS", "lr": 0.1}, "LBFGS"),
    ],
)
def test_optimizers_that_cannot_be_built(optimizer, words):
    with pytest.raises(ConfigError) as error:
        built(config(), optimizer)
    assert str(error.value).startswith("optimizer")
    assert words in str(error.value)
