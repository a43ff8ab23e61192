"""Heads: networks that turn features into one logit a class."""

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """One fully connected layer.

    Args:
        in_features: length of the feature vector.
        num_classes: number of logits.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, in_features) to logits (n, num_classes)."""
        return torch.as_tensor(self.linear(features))
