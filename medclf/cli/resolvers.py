import secrets
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from medclf.metric_registry import monitor_mode
from medclf.sweeps.search_space import list_grid_values


def _mode(monitor: Any) -> Literal["min", "max"]:
    """Return a mode for anything: a monitor that is no text is refused by the schema, which names its key."""
    return monitor_mode(monitor) if isinstance(monitor, str) else "max"


def _identity(*, _root_: DictConfig) -> str:
    from medclf.sweeps.sweep_jobs import compute_job_identity  # pandas and more, which only a sweep's jobs pay

    return compute_job_identity(_root_=_root_)


def register_resolvers() -> None:
    """Register ``${medclf.token:}``, ``${medclf.mode:METRIC}``, ``${medclf.identity:}``, ``${medclf.grid:SPACE}``."""
    # cached like Hydra's own ${now:}: one token for all that a command composes
    OmegaConf.register_new_resolver("medclf.token", lambda: secrets.token_hex(3), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("medclf.mode", _mode, replace=True)
    OmegaConf.register_new_resolver("medclf.identity", _identity, replace=True)
    OmegaConf.register_new_resolver("medclf.grid", list_grid_values, replace=True)
