"""Views are what the augmentation makes, in the order in which it makes them."""

import pytest
import torch
from torchvision.transforms import v2

from medclf.data.augmentation_views import DrawnViews, Flips, are_flips

BOTH = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.3)])


@pytest.fixture
def image():
    return torch.randint(0, 255, (3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("augment", "count"),
    [
        (v2.Compose([v2.Identity()]), 1),
        (v2.Compose([v2.RandomHorizontalFlip(0.5)]), 2),
        (BOTH, 4),
        (v2.Compose([v2.RandomHorizontalFlip(1.0)]), 2),
    ],
)
def test_draws_follow_the_augmentation(augment, count, image):
    views = Flips(augment)
    assert are_flips(augment)
    assert views.count == count
    torch.manual_seed(1)
    drawn = [views.make(image, views.draw(), 0) for _ in range(50)]
    torch.manual_seed(1)
    assert all(torch.equal(one, augment(image)) for one in drawn)


@pytest.mark.parametrize(
    "augment",
    [v2.Compose([v2.RandomRotation(5)]), v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.2)])],
)
def test_others_are_no_flips(augment):
    assert not are_flips(augment)


def test_drawn_views_are_drawn_once(image):
    views = DrawnViews(v2.Compose([v2.RandomRotation(90)]), 3, seed=0, name="rotation")
    before = torch.get_rng_state()
    first = [views.make(image, view, row=7) for view in range(3)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, views.make(image, view, row=7)) for view, one in enumerate(first))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], views.make(image, 0, row=8))
    assert {views.draw() for _ in range(50)} == {0, 1, 2}


def test_names_tell_views_apart():
    flip, both = Flips(v2.RandomHorizontalFlip()), Flips(BOTH)
    drawn = [
        DrawnViews(BOTH, count, seed, name)
        for count, seed, name in ((2, 0, "a"), (3, 0, "a"), (2, 1, "a"), (2, 0, "b"))
    ]
    assert len({views.name for views in (flip, both, *drawn)}) == 6
