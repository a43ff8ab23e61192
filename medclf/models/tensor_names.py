"""The tensors of a network by plain names, as ``best.pth`` has them and as published weights do.

A ResNet has torchvision's own names, its head those of ``fc``: ``torchvision.models.resnet18`` loads it as it is. Every
other network has ``backbone.`` and ``head.`` before the names of its parts.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from medclf.models.backbones import ResNet
from medclf.models.network import Network

State = dict[str, Tensor]

WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+|^network\.(?:_orig_mod\.)?(?=backbone\.|head\.)")
"""What DataParallel and torch.compile put before every name, and what a checkpoint of ours does."""


def plain_state(network: Network) -> State:
    """Return the weights of a network on the CPU, by plain names."""
    own = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    if not isinstance(network.backbone, ResNet):
        return own
    return {_renamed(name, {"backbone.network.": "", "head.": "fc."}): value for name, value in own.items()}


def own_state(state: Mapping[str, Tensor], network: Network) -> State:
    """Return weights by a network's own names, given plain, checkpoint or wrapped names."""
    plain = {WRAPPED.sub("", name): value for name, value in state.items()}
    if any(name.startswith(("backbone.", "head.")) for name in plain):
        return plain
    before = "backbone.network." if isinstance(network.backbone, ResNet) else "backbone."
    return {_renamed(name, {"fc.": "head.", "": before}): value for name, value in plain.items()}


def _renamed(name: str, prefixes: dict[str, str]) -> str:
    old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
    return prefixes.get(old, "") + name[len(old) :]
