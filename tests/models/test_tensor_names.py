"""Plain names are torchvision's, and the way back loses nothing."""

import pytest
import torch
from test_network import MEAN, SD, build_network, config
from torchvision.models import resnet18

from medclf.models.tensor_names import own_state, plain_state

MLP = {"_target_": "medclf.models.heads.MLPHead", "hidden": [5, 4]}
MODELS = {"resnet18, linear": config("resnet18"), "resnet18, MLP": config("resnet18", **MLP), "cnn": config()}


@pytest.fixture(scope="module", params=MODELS)
def network(request):
    return build_network(MODELS[request.param], 3, 32, 3)


def test_torchvision_takes_a_resnet_and_gives_the_same_probabilities():
    network = build_network(config("resnet18"), 3, 32, 3)
    images = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)
    network.train()(images)  # statistics of BatchNorm that are not those of the start
    reference = resnet18(num_classes=3)
    reference.load_state_dict(plain_state(network), strict=True)
    mean, sd = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (MEAN, SD))
    with torch.no_grad():
        expected = reference.eval()((images / 255 - mean) / sd).softmax(1)
        torch.testing.assert_close(network.eval()(images).softmax(1), expected, rtol=1e-4, atol=1e-5)


def test_there_and_back(network):
    state, back = network.state_dict(), own_state(plain_state(network), network)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_plain_names_of_another_head():
    with torch.device("meta"):
        backbone = {name for name in resnet18().state_dict() if not name.startswith("fc.")}
    head = {f"fc.{layer}.{part}" for layer in (0, 3, 6) for part in ("weight", "bias")}
    assert set(plain_state(build_network(MODELS["resnet18, MLP"], 3, 32, 3))) == backbone | head


def test_plain_names_of_another_network():
    names = [f"backbone.layers.{layer}.{part}" for layer in (0, 3) for part in ("weight", "bias")]
    assert list(plain_state(build_network(config(), 3, 32, 3))) == [*names, "head.weight", "head.bias"]


def test_plain_state_is_a_copy_without_gradients():
    network = build_network(config(), 1, 32, 2)
    plain = plain_state(network)
    before = {name: value.clone() for name, value in plain.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(torch.equal(plain[name], value) for name, value in before.items())
    assert not any(value.requires_grad for value in plain.values())
