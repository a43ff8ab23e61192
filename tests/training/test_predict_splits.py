"""Predicting with each BatchNorm folded into its convolution."""

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from medclf.config.composition import Composer
from medclf.config.schema import TrainConfig, validate_config
from medclf.data.build_image_table import load_image_table
from medclf.data.datamodule import Features, ImageDataModule
from medclf.training import finalize
from medclf.training.finalize import predict_split
from medclf.training.trainer import build_module


class Normalised(nn.Sequential):
    def __init__(self, in_channels):
        super().__init__(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU())


class Watch(Callback):
    """Keeps the networks that predict; the first one may be an error."""

    def __init__(self, error=None):
        self.error = error
        self.networks = []

    def on_predict_batch_start(self, trainer, pl_module, *_):
        self.networks.append(pl_module.network)
        if self.error is not None:
            raise self.error


@pytest.fixture
def config(two_classes, tmp_path):
    words = ["dataset=folder", f"dataset.root='{two_classes}'", f"dataset.store='{tmp_path / 'store'}'"]
    words += [
        "dataset.image_size=16",
        "model=custom",
        "trust_code=true",
        f"model.backbone._target_={__name__}.Normalised",
    ]
    return validate_config(Composer("train").compose(words), TrainConfig)


@pytest.fixture
def data(config):
    table = load_image_table(config.dataset, progress=False)
    data = ImageDataModule(table, config.dataset, lambda image: image, progress=False)
    data.setup()
    return data


@pytest.fixture
def module(config, data):
    """Its BatchNorm, were it left out, would be missed."""
    torch.manual_seed(0)
    module = build_module(config, data)
    norm = module.network.backbone[1]
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.normal_(norm.bias)
    return module


@pytest.fixture
def predicted(module, data):
    """Predict the test split, and give its probabilities and the networks that predicted."""

    def predicted(error=None):
        watch = Watch(error)
        trainer = lightning.Trainer(
            accelerator="cpu",
            precision="32-true",
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        table, _ = predict_split(trainer, module, data, "test")
        return table[[f"prob_{name}" for name in module.classes]].to_numpy(), watch.networks

    return predicted


def has_norm(network):
    return any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_the_folded_network_gives_the_probabilities_of_the_network(module, predicted, monkeypatch):
    network = module.network
    probabilities, networks = predicted()
    assert networks
    assert not any(has_norm(used) for used in networks)
    assert module.network is network
    assert has_norm(network)
    monkeypatch.setattr(finalize, "fold_batchnorm", lambda network: network)
    expected, networks = predicted()
    assert all(used is network for used in networks)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_the_network_is_put_back_also_when_predicting_fails(module, predicted, error):
    network = module.network
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        predicted(error)
    assert module.network is network


def test_features_need_no_folding(module, data, predicted, monkeypatch):
    expected, _ = predicted()
    images = data.datasets["test"]
    with torch.inference_mode():
        features = module.network.eval().features(torch.stack([images.image(row) for row in range(len(images))]))
    images.features = Features(features[None].numpy())
    monkeypatch.delattr(finalize, "fold_batchnorm")
    probabilities, networks = predicted()
    assert all(used is module.network for used in networks)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
