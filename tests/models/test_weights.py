"""Weights are loaded whole or refused, never as code, and offline the message says what to fetch."""

import logging
import pickle
from functools import cache
from pathlib import Path
from urllib.error import URLError
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from test_network import build_network, config
from torchvision.models import ResNet18_Weights, resnet18, resnet50

from medclf.models.tensor_names import plain_state
from medclf.models.weights import load_weights
from medclf.utils.errors import ConfigError

NAMES = ["cnn", "resnet18"]


def network(name="cnn", classes=3, **head):
    return build_network(config(name, **head), 1, 32, classes).eval()


@cache
def learnt(name="cnn"):
    """A network whose BatchNorm has statistics of its own."""
    source = network(name)
    with torch.no_grad():
        source.train()(images())
    return source.eval()


@cache
def published():
    return resnet18(num_classes=3).state_dict()


def images():
    return torch.randint(0, 255, (4, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def states(target):
    return {name: value.clone() for name, value in target.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def backbone_of(state):
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def saved(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="medclf.models.weights")
    return caplog


def test_torchvisions_state_dict_with_as_many_classes(tmp_path, log):
    target = network("resnet18")
    load_weights(target, saved(published(), tmp_path))
    assert same({**target.backbone.network.state_dict(), **target.head.state_dict(prefix="fc.")}, published())
    assert "loaded the backbone (120 tensors) and the head (2)" in log.text


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ({}, "head.weight is (5, 512) there, (3, 512) here"),
        ({"_target_": "medclf.models.heads.MLPHead", "hidden": [4]}, "lacks head.0.weight"),
    ],
)
def test_another_head_starts_anew(tmp_path, log, head, reason):
    other = {**published(), "fc.weight": torch.zeros(5, 512), "fc.bias": torch.zeros(5)}
    target = network("resnet18", **head)
    before = states(target.head)
    load_weights(target, saved(other, tmp_path))
    assert same(target.backbone.network.state_dict(), backbone_of(other))
    assert same(target.head.state_dict(), before)
    assert "loaded the backbone (120 tensors); the head starts anew" in log.text
    assert reason in log.text


def test_backbone_alone(tmp_path, log):
    target = network("resnet18")
    before = states(target.head)
    load_weights(target, saved(backbone_of(published()), tmp_path))
    assert same(target.backbone.network.state_dict(), backbone_of(published()))
    assert same(target.head.state_dict(), before)
    assert "lacks head.weight, head.bias" in log.text


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("plain", [True, False])
def test_names_of_a_wrapped_network(tmp_path, prefix, plain):
    source = learnt("resnet18")
    state = plain_state(source) if plain else source.state_dict()
    target = network("resnet18")
    load_weights(target, saved({prefix + name: value for name, value in state.items()}, tmp_path))
    assert same(target.state_dict(), source.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_best_pth_gives_the_same_logits(tmp_path, name):
    source, target = learnt(name), network(name)
    assert not torch.allclose(target(images()), source(images()))
    load_weights(target, saved(plain_state(source), tmp_path))
    assert torch.equal(target(images()), source(images()))


@pytest.mark.parametrize("prefix", ["network.", "network._orig_mod."])
@pytest.mark.parametrize("name", NAMES)
def test_checkpoint(tmp_path, name, prefix):
    source, target = learnt(name), network(name)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    load_weights(target, saved({"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 0.1}}, tmp_path))
    assert same(target.state_dict(), source.state_dict())


def test_old_state_dict_without_counts_of_batches(tmp_path):
    old = {name: value for name, value in published().items() if not name.endswith("num_batches_tracked")}
    assert len(old) == len(published()) - 20
    target = network("resnet18")
    load_weights(target, saved(old, tmp_path))
    assert all(torch.equal(value, old[name]) for name, value in plain_state(target).items() if name in old)


def test_none_keeps_the_random_weights():
    target = network()
    before = states(target)
    load_weights(target, "none")
    assert same(target.state_dict(), before)


def refused(target, weights):
    """The one message, which names the weights; the network is as before."""
    before = states(target)
    with pytest.raises(ConfigError) as error:
        load_weights(target, str(weights))
    assert same(target.state_dict(), before)
    assert f"model.weights={weights}: " in str(error.value)
    return str(error.value)


def test_another_architecture(tmp_path):
    with torch.device("meta"):
        names = list(resnet50().state_dict())
    path = saved({name: torch.zeros(1) for name in names}, tmp_path)
    assert "do not fit the backbone" in refused(network("resnet18"), path)
    assert "do not fit the backbone" in refused(network(), path)


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    views = {name: torch.zeros(()).expand(value.shape) for name, value in learnt().state_dict().items()}
    assert "is not a state dict" in refused(network(), saved(views, tmp_path))


def test_a_file_that_states_more_bytes_than_it_has_is_refused(tmp_path):
    path = tmp_path / "packed.pth"
    torch.save(learnt().state_dict(), tmp_path / "plain.pth")
    with ZipFile(tmp_path / "plain.pth") as plain, ZipFile(path, "w", ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name) + bytes(100_000))
    assert "was made to exhaust memory" in refused(network(), path)


def test_another_size(tmp_path):
    wider = build_network(config() | {"backbone": {**config()["backbone"], "channels": [4, 9]}}, 1, 32, 3)
    message = refused(network(), saved(wider.state_dict(), tmp_path))
    assert "backbone.layers.3.weight is (9, 4, 3, 3) there, (8, 4, 3, 3) here" in message


def test_missing_entry_of_the_backbone(tmp_path):
    path = saved({k: v for k, v in published().items() if k != "layer1.0.conv1.weight"}, tmp_path)
    assert "lacks backbone.network.layer1.0.conv1.weight" in refused(network("resnet18"), path)


def test_unknown_entry_of_the_backbone(tmp_path):
    path = saved({**published(), "layer5.weight": torch.zeros(2)}, tmp_path)
    assert "has unknown backbone.network.layer5.weight" in refused(network("resnet18"), path)


def test_entry_that_is_of_no_part(tmp_path):
    path = saved({**network().state_dict(), "projector.weight": torch.zeros(2)}, tmp_path)
    assert "projector.weight" in refused(network(), path)


def test_truncated_file(tmp_path):
    path = Path(saved(network().state_dict(), tmp_path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as a state dict" in refused(network(), path)


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_pickle_that_wants_to_run_code(tmp_path):
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(RunsCode(tmp_path / "ran"), protocol=2))
    assert "cannot be read as a state dict" in refused(network(), tmp_path / "weights.pth")
    assert "cannot be read as a state dict" in refused(network(), saved(RunsCode(tmp_path / "ran"), tmp_path))
    assert not (tmp_path / "ran").exists()


NO_STATE = {
    "no tensors": {"epoch": 3},
    "nothing": {},
    "nothing inside": {"state_dict": {}},
    "not only tensors": {"weight": torch.zeros(2), "epoch": 3},
    "no dict": torch.zeros(2),
    "no names": {0: torch.zeros(2)},
}


@pytest.mark.parametrize("kind", NO_STATE)
def test_no_state_dict(tmp_path, kind):
    assert "is not a state dict" in refused(network(), saved(NO_STATE[kind], tmp_path))


def test_directory(tmp_path):
    assert "cannot be read as a state dict" in refused(network(), tmp_path)


def test_no_such_file(tmp_path):
    assert "No such file" in refused(network(), tmp_path / "nothing.pth")


def test_no_published_weights_of_a_cnn():
    assert "ResNets only" in refused(network(), "default")


def test_offline(monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    message = refused(network("resnet18"), "default")
    name = ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    assert name in message
    assert str(Path(torch.hub.get_dir()) / "checkpoints" / name) in message
    assert "sha256 begins with f37072fd" in message
