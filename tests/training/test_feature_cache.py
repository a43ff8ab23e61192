"""Features on disk: shared where everything is equal, never where something differs."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from medclf.data.augmentation_views import Flips
from medclf.data.checksummed_array import write_checksummed
from medclf.data.datamodule import ImageDataset
from medclf.data.image_cache import ImageCache
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.models.network import Network
from medclf.training.feature_cache import open_feature_cache


def write_store(path, images):
    with path.open("wb") as file:
        write_checksummed(file, images.shape, images.dtype, [image.tobytes() for image in images])


def network(seed=0):
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    made = Network(backbone, nn.Linear(4, 2), [0.4], [0.2])
    made.freeze()
    return made.eval()


@pytest.fixture
def images(tmp_path):
    write_store(tmp_path / "set_a.npy", np.random.default_rng(0).integers(0, 255, (6, 1, 8, 8), dtype=np.uint8))
    return ImageDataset(ImageCache(tmp_path / "set_a.npy"), [0, 2, 3, 5], torch.zeros(4, dtype=torch.int64))


@pytest.fixture
def opened(tmp_path):
    """Open features, and say how often something was computed."""
    calls = []

    def opened(images, made, views=None, arithmetic="32-true"):
        @torch.inference_mode()
        def compute(pixels):
            calls.append(len(pixels))
            return made.features(pixels)

        before = len(calls)
        values = open_feature_cache(images, views, made, compute, arithmetic, tmp_path / "store", progress=False)
        return values, len(calls) > before

    return opened


def test_they_are_what_the_network_gives(images, opened):
    made, views = network(), Flips(v2.RandomHorizontalFlip())
    values, _ = opened(images, made, views)
    assert values.shape == (2, 4, 4)
    pixels = torch.stack([images.store[row] for row in images.rows])
    with torch.inference_mode():
        np.testing.assert_array_equal(values[0], made.features(pixels))
        np.testing.assert_allclose(values[1], made.features(pixels.flip(-1)), atol=1e-6)


def test_computed_once(images, opened):
    assert opened(images, network())[1]
    assert not opened(images, network())[1]


def test_another_head_shares_them(images, opened):
    opened(images, network())
    other = network()
    other.head = nn.Linear(4, 3)
    assert not opened(images, other)[1]


@pytest.mark.parametrize("what", ["weight", "statistic", "mean", "views", "rows", "arithmetic", "images"])
def test_a_change_never_meets_stale_features(what, images, opened, tmp_path):
    made, views, arithmetic = network(), None, "32-true"
    before, _ = opened(images, made)
    with torch.no_grad():
        if what == "weight":
            made.backbone[0].weight[0, 0, 0, 0] += 1e-6
        elif what == "statistic":
            made.backbone[1].running_mean[0] += 1e-6
        elif what == "mean":
            made.mean += 0.1
    if what == "views":
        views = Flips(v2.RandomVerticalFlip())
    elif what == "rows":
        images = ImageDataset(images.store, [0, 2, 3, 4], images.target)
    elif what == "arithmetic":
        arithmetic = "bf16-mixed"
    elif what == "images":  # the store's name holds the hash of what is in it
        write_store(tmp_path / "set_b.npy", np.zeros((6, 1, 8, 8), np.uint8))
        images = ImageDataset(ImageCache(tmp_path / "set_b.npy"), images.rows, images.target)
    _, computed = opened(images, made, views, arithmetic)
    assert computed
    assert before.shape == (1, 4, 4)


@pytest.mark.parametrize("kind", ["cut", "zeroed"])
def test_a_damaged_file_is_computed_again(kind, images, opened, tmp_path, caplog):
    made = network()
    before, _ = opened(images, made)
    expected = np.array(before)
    (path,) = (tmp_path / "store").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-60] if kind == "cut" else content.replace(expected.tobytes(), bytes(expected.nbytes)))
    again, computed = opened(images, made)
    assert computed
    assert np.array_equal(again, expected)
    assert "They are computed again" in caplog.text
    assert not opened(images, made)[1]


def test_folding_changes_features_by_rounding_alone():
    made = network()
    made.backbone[1].running_mean.normal_(generator=torch.Generator().manual_seed(0))
    made.backbone[1].running_var.fill_(2.5)
    pixels = torch.randint(0, 255, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    twin = fold_batchnorm(made)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    with torch.inference_mode():
        torch.testing.assert_close(twin.features(pixels), made.features(pixels), atol=1e-5, rtol=1e-5)
    assert any(isinstance(module, nn.BatchNorm2d) for module in made.modules())


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, images):
        return self.layer(images) if images.sum() > 0 else self.layer(-images)


def test_a_backbone_that_cannot_be_followed_stays_as_it_is():
    made = Network(Branching(), nn.Linear(4, 2), [0.4], [0.2]).eval()
    pixels = torch.full((2, 1, 8, 8), 9, dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(fold_batchnorm(made).features(pixels), made.features(pixels))
