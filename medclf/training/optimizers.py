from typing import Any

import torch

from medclf.config.component_registry import OPTIMIZERS, build_component
from medclf.models.network import Network

LATE_BACKBONE_LR_SCALE = 0.1
"""Of a backbone that learns from some epoch on: its weights are good already, the head's are new."""


def build_optimizer(
    optimizer: dict[str, Any], model: dict[str, Any], network: Network, trust_code: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer, with one parameter group for the head and one for the backbone.

    A backbone that stays frozen is in no group. One that learns later is in its group from the start, so that schedules
    and checkpoints know it; without gradients until then, no optimizer touches it.

    Args:
        optimizer: the config of group ``optimizer``.
        model: the config of group ``model``: ``unfreeze_at`` and ``backbone_lr_scale`` are used.
        network: of that model.
        trust_code: whether the optimizer may be of code that is not named in ``OPTIMIZERS``.

    Raises:
        ConfigError: for an optimizer that cannot be built.
    """
    late = model["unfreeze_at"] is not None
    scale = model["backbone_lr_scale"] or (LATE_BACKBONE_LR_SCALE if late else 1.0)
    groups: list[dict[str, Any]] = [{"name": "head", "params": list(network.head.parameters())}]
    if late or not network.frozen:
        backbone = list(network.backbone.parameters())
        groups.append({"name": "backbone", "params": backbone, "lr": optimizer["lr"] * scale})
    learning = [group for group in groups if group["params"]]
    built: torch.optim.Optimizer = build_component("optimizer", optimizer, OPTIMIZERS, trust_code, params=learning)
    return built
