"""A trial's configuration as a recipe, as those of ``conf/experiment`` are."""

from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial

from medclf.config.schema import NOT_OF_A_RUN

NOT_ITS = (*NOT_OF_A_RUN, "sweep", "resume", "resume_from", "trust_code")
"""Keys that say how a job runs, not what it is."""
NOT_CHOSEN = ("hpo", "launcher", "experiment", "local", "hydra", "evaluation")
"""Groups whose choice a recipe leaves alone: its keys have what they set. It is judged in full, not as a trial is."""


def build_recipe(config: DictConfig, trial: FrozenTrial, folder: Path) -> str:
    """Return the text of ``best.yaml``: the choice of each group, and keys that differ from that choice.

    Args:
        config: of the sweep, Hydra's node included.
        trial: of its study.
        folder: of the search, in which the recipe will be ``experiment/best.yaml``.
    """
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    typed = [str(item.input_line) for item in parsed if item.get_key_element() not in trial.params]
    found = [f"{key}={value}" for key, value in trial.params.items()]
    name = config.hydra.job.config_name
    node = compose(name, [*typed, *found], return_hydra_config=True)
    choices = {
        group: choice
        for group, choice in node.hydra.runtime.choices.items()
        if choice is not None and group.split("/")[0] not in NOT_CHOSEN
    }
    quick = f"evaluation={node.hydra.runtime.choices.evaluation}"
    plain = compose(name, [quick, *(f"{group}={choice}" for group, choice in choices.items())])
    content = {
        "defaults": [{f"override /{group}": choice} for group, choice in choices.items()],
        **_difference(_content(node), _content(plain)),
    }
    return (
        "# @package _global_\n"
        f"# The best of a search, chosen on validation: {config.monitor} {trial.value:.6g}, trial {trial.number}.\n"
        f"# Line: python -m medclf.train --config-dir {folder.as_posix()} experiment=best\n"
        f"{OmegaConf.to_yaml(content)}"
    )


def _content(node: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node)
    return {key: value for key, value in content.items() if key not in NOT_ITS}


def _difference(node: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """What a node has that another has not, or has otherwise."""
    found = {}
    for key, value in node.items():
        if key not in plain:
            found[key] = value
        elif isinstance(value, dict) and isinstance(plain[key], dict):
            if inner := _difference(value, plain[key]):
                found[key] = inner
        elif value != plain[key]:
            found[key] = value
    return found
