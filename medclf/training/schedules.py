import math
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from medclf.metric_registry import monitor_mode


def build_schedule(config: dict[str, Any], optimizer: Optimizer, steps: float, monitor: str) -> dict[str, Any] | None:
    """Return a learning-rate schedule in Lightning's form, or None.

    Args:
        config: of group ``scheduler`` as a plain dict.
        optimizer: each of its parameter groups keeps its own rate as the highest.
        steps: optimizer steps of the whole training; may be infinite for ``none`` and ``plateau``.
        monitor: the validation metric that ``plateau`` follows.
    """
    name = config["name"]
    if name == "none":
        return None
    if name == "plateau":
        better = monitor_mode(monitor)
        plateau = ReduceLROnPlateau(optimizer, better, factor=config["factor"], patience=config["patience"])
        return {"scheduler": plateau, "interval": "epoch", "monitor": monitor}
    schedule: LRScheduler
    if name == "cosine":
        schedule = LambdaLR(optimizer, partial(warmup_cosine, steps=int(steps), rise=round(steps * config["warmup"])))
    else:
        highest = [group["lr"] for group in optimizer.param_groups]
        has_momentum = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)
        # torch divides by the steps of the rise less one, and by those of the fall
        rise = min(max(config["warmup"], 1.5 / steps), 1 - 0.5 / steps)
        schedule = OneCycleLR(optimizer, highest, int(steps), pct_start=rise, cycle_momentum=has_momentum)
    return {"scheduler": schedule, "interval": "step"}


def warmup_cosine(step: int, steps: int, rise: int) -> float:
    """Factor of the learning rate: up in a straight line, then half a cosine down (Loshchilov and Hutter, ICLR 2017).

    Args:
        step: counted from 0.
        steps: of the whole training, at least 1.
        rise: steps that it rises for.

    Returns:
        The factor, in [0, 1].
    """
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))
