"""What a run that goes on must have in common with what it was."""

from typing import Any

from omegaconf import OmegaConf

from medclf.config.schema import Config
from medclf.errors import ConfigError
from medclf.runs import Run

SAME = {
    "dataset": ("image_size", "channels", "resize", "clahe", "normalization", "batch_size", "balanced_sampling"),
    "model": ("backbone", "head", "output", "frozen", "unfreeze_at", "backbone_lr_scale"),
    "optimizer": ("_target_",),
    "scheduler": ("name",),
}
"""By group, what may not change under a network that has begun to learn."""


def check_same(run: Run, config: Config) -> None:
    """Refuse to go on with another network, or with images in another form or order.

    Raises:
        ConfigError: with every key that differs, its value now and then.
    """
    if not run.config.is_file():  # it stopped before it had begun
        return
    before: Any = OmegaConf.to_container(OmegaConf.load(run.config))
    now = config.model_dump(by_alias=True)
    tuned = {"dataset.batch_size"} if config.tune.batch_size else set()
    differs = [
        f"{group}.{key}={now[group].get(key)}: the run has {before[group][key]}"
        for group, keys in SAME.items()
        for key in keys
        if key in before[group] and before[group][key] != now[group].get(key) and f"{group}.{key}" not in tuned
    ]
    if before["seed"] != now["seed"]:
        differs.insert(0, f"seed={now['seed']}: the run has {before['seed']}")
    if differs:
        raise ConfigError(
            "\n".join(differs) + f"\nresume={run.shown}: goes on as it began; leave these out, or start a new run"
        )
