import secrets
from typing import Literal

from omegaconf import OmegaConf


def monitor_mode(monitor: str) -> Literal["min", "max"]:
    """Whether the better value of a metric is the smaller (``min``: a loss) or the larger (``max``: all others)."""
    return "min" if monitor.endswith("loss") else "max"


def register() -> None:
    """Make ``${medclf.token:}`` and ``${medclf.mode:METRIC}`` known to the configuration."""
    # cached like Hydra's own ${now:}: one token for all that a command composes
    OmegaConf.register_new_resolver("medclf.token", lambda: secrets.token_hex(3), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("medclf.mode", monitor_mode, replace=True)
