"""Hydra's plugins that are extras of this package."""

EXTRAS = {
    "hydra/sweeper/optuna": "hpo",
    "hydra/launcher/joblib": "launchers",
    "hydra/launcher/submitit_local": "launchers",
    "hydra/launcher/submitit_slurm": "launchers",
}
"""By Hydra's name of a plugin's config: the extra that installs the plugin."""


def plugin_missing(config: str) -> str | None:
    """What to say where Hydra does not find a config because a plugin is not installed; None for any other config."""
    extra = EXTRAS.get(config)
    return extra and f"{config}: its plugin is not installed; pip install 'medclf[{extra}]'"
