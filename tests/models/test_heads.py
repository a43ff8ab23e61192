"""What a head is made of."""

import pytest
import torch
from torch import nn

from medclf.models.heads import MLPHead


@pytest.mark.parametrize(("name", "kind"), [("relu", nn.ReLU), ("elu", nn.ELU), ("gelu", nn.GELU)])
def test_layers(name, kind):
    head = MLPHead(10, 3, hidden=[8, 6], dropout=0.25, activation=name)
    assert [type(layer) for layer in head] == [nn.Linear, kind, nn.Dropout] * 2 + [nn.Linear]
    sizes = [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)]
    assert sizes == [(10, 8), (8, 6), (6, 3)]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.25, 0.25]


def test_values_by_hand():
    head = MLPHead(4, 2, hidden=[3], activation="elu").eval()
    features = torch.randn(5, 4)
    (first, *_, last) = head
    hidden = features @ first.weight.T + first.bias
    hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
    torch.testing.assert_close(head(features), hidden @ last.weight.T + last.bias)


def test_without_hidden_layers_it_is_one_linear_layer():
    (layer,) = MLPHead(10, 3, hidden=[])
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features) == (10, 3)


def test_unknown_activation():
    with pytest.raises(ValueError, match=r"activation=rleu: did you mean 'relu'\? Valid: relu, elu, gelu"):
        MLPHead(10, 3, hidden=[8], activation="rleu")
