from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate

from medclf.errors import ConfigError
from medclf.models.network import Network

LATE_BACKBONE_LR_SCALE = 0.1
"""Of a backbone that learns from some epoch on: its weights are good already, the head's are new."""


def build_optimizer(optimizer: dict[str, Any], model: dict[str, Any], network: Network) -> torch.optim.Optimizer:
    """The optimizer of the config over what learns: a parameter group for the head, and one for the backbone.

    A backbone that stays frozen is in no group. One that learns later is in its group from the start, so that schedules
    and checkpoints know it; without gradients until then, no optimizer touches it.

    Args:
        optimizer: the config of group ``optimizer``.
        model: the config of group ``model``: ``unfreeze_at`` and ``backbone_lr_scale`` are used.
        network: of that model.

    Raises:
        ConfigError: for an optimizer that cannot be built.
    """
    late = model["unfreeze_at"] is not None
    scale = model["backbone_lr_scale"] or (LATE_BACKBONE_LR_SCALE if late else 1.0)
    groups: list[dict[str, Any]] = [{"name": "head", "params": list(network.head.parameters())}]
    if late or not network.frozen:
        backbone = list(network.backbone.parameters())
        groups.append({"name": "backbone", "params": backbone, "lr": optimizer["lr"] * scale})
    try:
        build = instantiate({**optimizer, "_partial_": True})
        built: torch.optim.Optimizer = build([group for group in groups if group["params"]])
    except (HydraException, ValueError, TypeError) as error:
        raise ConfigError(f"optimizer: cannot be built: {error}") from error
    return built
