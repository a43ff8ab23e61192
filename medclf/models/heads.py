"""Heads: networks that turn features into logits. Each is built with ``in_features`` and ``out_features``.

The linear head is torch's own ``torch.nn.Linear``.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from medclf.models.activations import build_activation as activation_layer


class MLPHead(nn.Sequential):
    """Fully connected layers, each but the last followed by an activation and dropout.

    Args:
        in_features: length of the feature vector.
        out_features: number of logits.
        hidden: outputs of the hidden layers, in order.
        dropout: share of a hidden layer's outputs that a training step leaves out (Srivastava et al., JMLR 2014).
        activation: relu, elu or gelu.
        normalize: whether features are first brought to mean 0 and variance 1 over the training images, by BatchNorm
            without weights; above a frozen backbone that helps.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
        activation: str = "relu",
        normalize: bool = False,
    ) -> None:
        if any(size < 1 for size in hidden):
            raise ValueError(f"hidden={list(hidden)}: every hidden layer has at least one output")
        sizes = (in_features, *hidden)
        layers: list[nn.Module] = [nn.BatchNorm1d(in_features, affine=False)] if normalize else []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation_layer(activation), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(sizes[-1], out_features))
