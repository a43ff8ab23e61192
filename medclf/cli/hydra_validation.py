"""Hydra's own node of a configuration: what in it would fail late, write elsewhere, or run foreign code."""

import logging.config
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from medclf.cli.option_suggestions import format_dashed
from medclf.config.composition import Composer
from medclf.config.field_types import plain_name
from medclf.config.messages import format_value
from medclf.utils.errors import ConfigError

RUN_FOLDER = "${hydra.runtime.output_dir}/"
SUBFOLDER = ".hydra"
"""Where Hydra keeps the words of a run, below the run folder."""
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
"""What a handler of logging may be given by its import path."""
OWN = ("hydra.", "hydra_plugins.", "medclf.", "optuna.")
"""Packages of which Hydra may build a callback, a launcher, a sweeper and a sampler."""


def validate_hydra_node(node: DictConfig) -> None:
    """Raise if Hydra's settings cannot work.

    Args:
        node: composed configuration, Hydra's own node included.

    Raises:
        ConfigError: naming key, value and remedy.
    """
    hydra: Any = OmegaConf.to_container(node.hydra, resolve=False)
    if hydra["mode"] is not None:
        raise ConfigError(f"hydra.mode={hydra['mode'].name}: is set by -m (--multirun); leave it out")
    if not isinstance(hydra["verbose"], bool | str | list):
        raise ConfigError(f"hydra.verbose={format_value(hydra['verbose'])}: must be true, false, or names of loggers")
    if hydra["output_subdir"] not in (None, SUBFOLDER):
        raise ConfigError(
            f"hydra.output_subdir={format_value(hydra['output_subdir'])}: must be {SUBFOLDER} or null; leave it out"
        )
    try:
        plain_name(str(hydra["job"]["name"]))
    except ValueError as error:
        raise ConfigError(f"hydra.job.name={format_value(hydra['job']['name'])}: {error}") from error
    for key, target in () if node.get("trust_code") else _imports(hydra, "hydra"):
        raise ConfigError(
            f"{key}={format_value(target)}: importing it runs its code: if you trust it, add trust_code=true"
        )
    for key in ("job_logging", "hydra_logging"):
        _check_logging(f"hydra.{key}", hydra[key])


def validate_trust(node: DictConfig, overrides: list[str]) -> None:
    """Raise if a file, which may be a stranger's, says that code may be run: that is for the user to type.

    Args:
        node: composed configuration.
        overrides: as typed.

    Raises:
        ConfigError: with what to type.
    """
    if node.get("trust_code") is True and not any(text.lstrip("+").startswith("trust_code=") for text in overrides):
        raise ConfigError("trust_code=true: is set in a file and does not count there; if you trust the code, type it")


def _check_logging(key: str, settings: dict[str, Any] | None) -> None:
    """Try the settings of logging, with handlers that write nothing."""
    content = settings or {}
    if content.get("version") is None:  # Hydra leaves logging alone
        return
    handlers = content.get("handlers") or {}
    for name, handler in handlers.items():
        if "class" not in handler:
            raise ConfigError(f"{key}.handlers.{name}: has no class; leave out what you set of {key}")
        if "filename" in handler and not str(handler["filename"]).startswith(RUN_FOLDER):
            raise ConfigError(f"{key}.handlers.{name}.filename: a log is kept in the run folder; leave it out")
    kept = ("formatter", "level", "filters")
    silent = {
        name: {"class": "logging.NullHandler", **{part: handler[part] for part in kept if part in handler}}
        for name, handler in handlers.items()
    }
    before = logging.root.level, list(logging.root.handlers)
    try:
        logging.config.DictConfigurator({**content, "handlers": silent, "disable_existing_loggers": False}).configure()
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{key}: {error.__cause__ or error}; leave out what you set of it") from error
    finally:
        logging.root.setLevel(before[0])
        logging.root.handlers[:] = before[1]


def _imports(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """The names that Hydra or logging would import for a node and those within it, except those of their own parts."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        place = f"{key}.{name}"
        if isinstance(inner, dict):
            yield from _imports(inner, place)
        own = {"_target_": OWN, "class": ("logging.",), "()": ()}.get(str(name), (inner,))
        if isinstance(inner, str) and (
            not inner.startswith(own) or (inner.startswith("ext://") and inner not in STREAMS)
        ):
            yield place, inner


def parse_arguments(name: str) -> Namespace:
    """Return the command line as Hydra reads it, with flags anywhere among the overrides.

    ``sys.argv`` is left with the flags first, since Hydra itself takes no override after a flag that follows one.

    Args:
        name: of the command's file in ``conf/``.

    Raises:
        ConfigError: for a flag that Hydra does not have, and one without its value.
    """
    parser = get_args_parser()
    parser.error = _raise_flag_error
    words = sys.argv[1:]
    arguments: Namespace
    arguments, unknown = parser.parse_known_intermixed_args(words)
    dashed = next((word for word in words if word in unknown and word.startswith("-")), None)
    if dashed is not None:
        following = words[words.index(dashed) + 1 :]
        raise ConfigError(format_dashed(dashed, following, Composer(name).list_keys()))
    if not arguments.info:  # -i takes the word after it for its value
        flags = [word for word in words if word not in arguments.overrides]
        sys.argv[1:] = [*flags, *arguments.overrides]
    return arguments


def _raise_flag_error(message: str) -> NoReturn:
    raise ConfigError(message.removeprefix("argument "))


ACTIONS = ("run", "multirun", "cfg", "info", "shell_completion")


def validate_flags(arguments: Namespace, composer: Composer) -> bool:
    """Raise for flags that cannot be used; return whether only something is to be printed.

    Args:
        arguments: of the command line, as Hydra reads them.
        composer: of the command.

    Raises:
        ConfigError: naming the flag and what to type.
    """
    if arguments.config_path is not None:
        raise ConfigError(
            f"--config-path {format_value(arguments.config_path)}: would replace all of medclf's configuration; add "
            "your own "
            f"folder to it: --config-dir {format_value(arguments.config_path)}"
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
        raise ConfigError(
            f"--hydra-help {format_value(' '.join(arguments.overrides))}: takes no key=value; leave them out"
        )
    prints = arguments.help or arguments.hydra_help or arguments.info or arguments.cfg
    if prints and (arguments.overrides or arguments.cfg or arguments.config_dir or arguments.config_name):
        _check_composed(arguments, composer)
    return bool(prints)


def _check_composed(arguments: Namespace, composer: Composer) -> None:
    node = composer.compose(arguments.overrides)
    if arguments.package and OmegaConf.select(node, arguments.package.removeprefix("_global_").lstrip(".")) is None:
        raise ConfigError(f"--package {format_value(arguments.package)}: there is no such part of the configuration")
