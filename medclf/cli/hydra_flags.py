"""Hydra's own flags: which of them the commands take."""

from argparse import Namespace

from omegaconf import OmegaConf

from medclf.config.composition import Composer
from medclf.config.messages import shown
from medclf.utils.errors import ConfigError

ACTIONS = ("run", "multirun", "cfg", "info", "shell_completion")


def check_flags(arguments: Namespace, composer: Composer) -> bool:
    """Raise for flags that cannot be used; return whether only something is to be printed.

    Args:
        arguments: of the command line, as Hydra reads them.
        composer: of the command.

    Raises:
        ConfigError: naming the flag and what to type.
    """
    if arguments.config_path is not None:
        raise ConfigError(
            f"--config-path {shown(arguments.config_path)}: would replace all of medclf's configuration; add your own "
            f"folder to it: --config-dir {shown(arguments.config_path)}"
        )
    if arguments.experimental_rerun is not None:  # would unpickle a file
        raise ConfigError("--experimental-rerun: is not supported; resume a run: python -m medclf.train resume=RUN")
    chosen = [f"--{action.replace('_', '-')}" for action in ACTIONS if getattr(arguments, action, None)]
    if len(chosen) > 1:
        raise ConfigError(f"{' '.join(chosen)}: exclude each other; leave one out")
    if arguments.shell_completion:
        words = ("install=", "uninstall=", "query=")
        if not any(word.startswith(words) for word in arguments.overrides):
            raise ConfigError("--shell-completion: needs one of install=bash, uninstall=bash, query=bash")
        return True
    if arguments.hydra_help and arguments.overrides:
        raise ConfigError(f"--hydra-help {shown(' '.join(arguments.overrides))}: takes no key=value; leave them out")
    prints = arguments.help or arguments.hydra_help or arguments.info or arguments.cfg
    if prints and (arguments.overrides or arguments.cfg or arguments.config_dir or arguments.config_name):
        _check_composed(arguments, composer)
    return bool(prints)


def _check_composed(arguments: Namespace, composer: Composer) -> None:
    node = composer.compose(arguments.overrides)
    if arguments.package and OmegaConf.select(node, arguments.package.removeprefix("_global_").lstrip(".")) is None:
        raise ConfigError(f"--package {shown(arguments.package)}: there is no such part of the configuration")
