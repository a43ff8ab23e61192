"""Weights are loaded whole or refused, never as code, and offline the message says what to fetch."""

import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18, resnet50

from medclf.errors import ConfigError
from medclf.models.backbones import ResNet, SmallCNN
from medclf.models.weights import load_weights


def test_state_dict_with_torchvisions_names(tmp_path):
    published = resnet18(weights=None).state_dict()
    torch.save(published, tmp_path / "weights.pth")
    backbone = ResNet(1, "resnet18")
    load_weights(backbone, str(tmp_path / "weights.pth"))
    loaded = backbone.network.state_dict()
    assert loaded
    assert all(torch.equal(value, published[name]) for name, value in loaded.items())


def test_none_keeps_the_random_weights():
    backbone = SmallCNN(1)
    before = backbone.layers[0].weight.clone()
    load_weights(backbone, "none")
    assert torch.equal(backbone.layers[0].weight, before)


def refused(backbone, weights):
    with pytest.raises(ConfigError) as error:
        load_weights(backbone, str(weights))
    return str(error.value)


def test_another_architecture(tmp_path):
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "weights.pth")
    assert "do not fit the backbone" in refused(ResNet(1, "resnet18"), tmp_path / "weights.pth")


def test_truncated_file(tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "weights.pth")
    whole = (tmp_path / "weights.pth").read_bytes()
    (tmp_path / "weights.pth").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a state dict" in refused(ResNet(1, "resnet18"), tmp_path / "weights.pth")


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_pickle_that_wants_to_run_code(tmp_path):
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(RunsCode(tmp_path / "ran")))
    assert "cannot be read as a state dict" in refused(SmallCNN(1), tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_no_state_dict(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    assert "is no state dict" in refused(SmallCNN(1), tmp_path / "weights.pth")


def test_no_published_weights_of_a_cnn():
    assert "ResNets only" in refused(SmallCNN(1), "default")


def test_offline(monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    message = refused(ResNet(1, "resnet18"), "default")
    name = ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    assert name in message
    assert str(Path(torch.hub.get_dir()) / "checkpoints" / name) in message
    assert "sha256 begins with f37072fd" in message
