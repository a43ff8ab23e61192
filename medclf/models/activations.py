"""Activation functions by the name that a config gives them."""

from collections.abc import Callable
from functools import partial

from torch import nn

from medclf.utils.errors import format_list, suggest

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "gelu": nn.GELU,
}


def build_activation(name: str) -> nn.Module:
    """Return a new layer of an activation function.

    Raises:
        ValueError: for a name that is not in ``ACTIVATIONS``.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name}: {suggest(name, ACTIVATIONS)}Valid: {format_list(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
