"""Mixing a batch: images and the shares of their classes say the same."""

import pytest
import torch

from medclf.data.augmentation import build_batch_mixing

CLASSES = 4
TARGET = torch.arange(CLASSES)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def flat_images():
    """Each has its class as its value."""
    return TARGET.float().reshape(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone()


def mixed(images, mixup=0.0, cutmix=0.0):
    """Images, the share that each keeps of its own class, and the position of the other that the rest is of."""
    found, shares = build_batch_mixing(mixup, cutmix, CLASSES)(images.clone(), TARGET)
    assert found.shape == images.shape
    assert shares.shape == (CLASSES, CLASSES)
    assert ((shares >= 0) & (shares <= 1)).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(CLASSES))
    others = shares - shares.diag().diag()
    assert ((others > 0).sum(1) <= 1).all()
    return found, shares.diag(), others.argmax(1)


def is_mixup(images):
    return all(len(image.unique()) == 1 for image in images)


def test_none():
    assert build_batch_mixing(0, 0, CLASSES) is None


def test_mixup():
    images = torch.rand(CLASSES, 3, 16, 16) * 255
    found, own, other = mixed(images, mixup=1.0)
    assert 0.01 < own.min() < own.max() + 1e-6 < 0.99
    share = own.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(found, share * images + (1 - share) * images[other])


def test_cutmix():
    """Every pixel is of one of two images, and the shares are those of the pixels."""
    for _ in range(20):
        images = flat_images()
        found, own, other = mixed(images, cutmix=1.0)
        kept = found == images
        assert torch.equal(found, torch.where(kept, images, images[other]))
        torch.testing.assert_close(kept.float().mean((1, 2, 3)), own)
        if 0.1 < own[0] < 0.9:
            break
    assert 0.1 < own[0] < 0.9
    # what is cut is one rectangle, the same in every image and channel
    cut = ~kept[0, 0]
    assert torch.equal(~kept, cut.expand_as(kept))
    assert cut.any(1).sum() * cut.any(0).sum() == cut.sum()


def test_either_is_drawn_for_a_batch():
    kinds = [is_mixup(mixed(flat_images(), mixup=1.0, cutmix=1.0)[0]) for _ in range(40)]
    assert 5 < sum(kinds) < 35


@pytest.mark.parametrize(("alphas", "expected"), [({"mixup": 0.2}, True), ({"cutmix": 0.2}, False)])
def test_one_alone_is_always_drawn(alphas, expected):
    kinds = [is_mixup(mixed(flat_images(), **alphas)[0]) for _ in range(20)]
    assert all(kinds) if expected else not all(kinds)


def test_alpha_is_that_of_the_beta_distribution():
    """Small: most batches are almost as they were; large: most are half and half."""
    spread = {}
    for alpha in (0.1, 50.0):
        spread[alpha] = [abs(mixed(flat_images(), mixup=alpha)[1][0].item() - 0.5) for _ in range(40)]
    assert sorted(spread[0.1])[10] > 0.3
    assert max(spread[50.0]) < 0.3
