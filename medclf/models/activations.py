"""Activation functions by the name that a config gives them."""

from collections.abc import Callable
from functools import partial

from torch import nn

from medclf.utils.errors import did_you_mean, listed

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "gelu": nn.GELU,
}


def activation(name: str) -> nn.Module:
    """A new layer of an activation function.

    Raises:
        ValueError: for a name that is not in ``ACTIVATIONS``.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name}: {did_you_mean(name, ACTIVATIONS)}Valid: {listed(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
