"""The few things that some augmentations can make of an image, so that what is computed of each can be kept."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms import v2


class Views(Protocol):
    """A number of views of each image, of which training draws one each time it sees the image.

    ``name`` tells them from others; ``exact`` whether they are all that the augmentation can make.
    """

    name: str
    count: int
    exact: bool

    def make(self, image: Tensor, view: int, row: int) -> Tensor:
        """Return one view of an image, uint8, shape (channels, height, width); ``row`` is the image's number."""

    def draw(self) -> int:
        """Draw the view to use now."""


class Flips:
    """Every outcome of an augmentation that flips or does nothing.

    A draw takes the very random numbers that the augmentation would take, so that training sees the same views in the
    same order as without it: the augmentation is given a marker of four pixels, which shows what became of it.

    Args:
        augment: for which ``are_flips`` holds.
    """

    exact = True

    def __init__(self, augment: v2.Transform) -> None:
        self.augment = augment
        kinds = [type(transform) for transform in _parts(augment)]
        dims: list[tuple[int, ...]] = [()]
        for kind, dim in FLIPS.items():
            if kind in kinds:
                dims += [(*before, dim) for before in dims]
        self.dims = dims
        self.count = len(dims)
        self.name = f"flips{dims}"
        marker = torch.arange(4, dtype=torch.uint8).reshape(1, 2, 2)
        self._marker = marker
        self._view_of = {bytes(marker.flip(flipped).flatten().tolist()): at for at, flipped in enumerate(dims)}

    def make(self, image: Tensor, view: int, row: int) -> Tensor:
        """Return the flipped image."""
        return image.flip(self.dims[view]) if self.dims[view] else image

    def draw(self) -> int:
        """Draw a flip with the augmentation's probabilities."""
        return self._view_of[bytes(self.augment(self._marker).flatten().tolist())]


class DrawnViews:
    """So many outcomes of any augmentation, drawn once: an approximation of drawing anew each time.

    Args:
        augment: any.
        count: of views of each image.
        seed: of the draws.
        name: tells the augmentation from others.
    """

    exact = False

    def __init__(self, augment: v2.Transform, count: int, seed: int, name: str) -> None:
        self.augment, self.count, self.seed = augment, count, seed
        self.name = f"drawn{count} seed{seed} {name}"

    def make(self, image: Tensor, view: int, row: int) -> Tensor:
        """Return the augmented image, the same one at each call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, view, row)) % 2**63)
            return torch.as_tensor(self.augment(image))

    def draw(self) -> int:
        """Any of them."""
        return int(torch.randint(self.count, ()))


FLIPS = {v2.RandomHorizontalFlip: -1, v2.RandomVerticalFlip: -2}


def are_flips(augment: v2.Transform) -> bool:
    """Return whether an augmentation does nothing but flip."""
    return all(type(transform) in (*FLIPS, v2.Identity) for transform in _parts(augment))


def _parts(augment: v2.Transform) -> Sequence[v2.Transform]:
    return augment.transforms if isinstance(augment, v2.Compose) else [augment]
