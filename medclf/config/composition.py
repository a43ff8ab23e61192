"""Composing the configuration ahead of Hydra's own run, so that what is wrong is said before a folder is made."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from medclf.config.conf_folder import conf_dir
from medclf.config.hydra_plugins import explain_missing_plugin
from medclf.config.limits import MAX_NAME
from medclf.config.messages import format_value
from medclf.config.overrides import parse_overrides
from medclf.config.trainer_schema import TrainerConfig
from medclf.config.user_config_validation import (
    format_yaml_error,
    list_options,
    validate_config_folder,
    validate_readable,
)
from medclf.utils.errors import ConfigError, format_list, suggest
from medclf.utils.quoting import quote_value

STACKED_GROUPS = ("callbacks", "logger")
"""Groups of which several choices may be made at once: callbacks=[ema,early_stopping]."""
OPTIONAL_GROUPS = ("experiment", "hpo", "hpo/space", "launcher", "local")
"""Groups of which nothing need be chosen."""
REASONS = {
    "not Optional": "must not be null",
    "valid bool": "must be true or false",
    "converted to Integer": "must be a whole number",
    "converted to Float": "must be a number",
}
"""What OmegaConf says of a value of the wrong type, by a part of its message."""
# conf/trainer/default.yaml starts from it: arguments of lightning.Trainer that are not listed there need no +
ConfigStore.instance().store("base", DictConfig({}, flags={"struct": False}), group="trainer")


@dataclass(frozen=True)
class Composer:
    """Composes what a command line asks for: the config's name, and a folder of the user's own configs or None."""

    config_name: str
    config_dir: str | None = None

    def compose(self, overrides: list[str]) -> DictConfig:
        """Return the configuration, Hydra's own node included.

        Raises:
            ConfigError: for a choice or a key that does not exist, with the nearest one that does, and for a file of
                the user's own that cannot be read.
        """
        self._check_config_name()
        for item in parse_overrides(overrides):
            self._check_choice(item)
        try:
            return self._compose(overrides)
        except yaml.YAMLError as error:
            raise ConfigError(format_yaml_error(error)) from error
        except RecursionError as error:
            raise ConfigError("the configuration is nested too deeply, or one of its files includes itself") from error
        except Exception as error:  # Hydra raises many kinds for files and words that do not fit
            if isinstance(error, OSError) and error.filename:
                raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
            validate_readable(self.folders[1:])
            raise ConfigError(self._explain(error, overrides)) from error

    @property
    def folders(self) -> list[Path]:
        """Return the folders that hold configuration files: ours and the user's."""
        return [conf_dir(), *([] if self.config_dir is None else [Path(self.config_dir)])]

    def _compose(self, overrides: list[str]) -> DictConfig:
        path = [] if self.config_dir is None else [f"hydra.searchpath=[{quote_value(_url(self.config_dir))}]"]
        with initialize_config_dir(str(conf_dir()), job_name=self.config_name, version_base="1.3"):
            node: DictConfig = compose(self.config_name, overrides=[*overrides, *path], return_hydra_config=True)
        return node

    def _check_config_name(self) -> None:
        if self.config_dir is not None:
            validate_config_folder(Path(self.config_dir))
        short = len(self.config_name) <= MAX_NAME
        if not short or not any((folder / f"{self.config_name}.yaml").is_file() for folder in self.folders):
            raise ConfigError(f"--config-name {format_value(self.config_name)}: there is no such file; leave it out")

    def _check_choice(self, item: Override) -> None:
        """Refuse a group of which nothing is chosen, or several things at once."""
        group = str(item.key_or_group)
        if item.is_sweep_override():
            raise ConfigError(f"{item.input_line}: several values are a sweep; add -m (--multirun), or type one")
        options = list_options(group, self.folders)
        if not options or item.package is not None:
            return
        nothing = item.is_delete() or item.value() is None
        if nothing and (group in OPTIONAL_GROUPS or group not in self._required()):
            return
        if nothing:
            raise ConfigError(
                f"{item.input_line}: needs one of {format_list(options, 50)}, such as {group}={options[0]}"
            )
        value = item.value()
        if isinstance(value, list) and not (group in STACKED_GROUPS and all(isinstance(name, str) for name in value)):
            raise ConfigError(f"{group}={format_value(value)}: takes one choice; valid: {format_list(options, 50)}")
        if not isinstance(value, str | dict | list):
            raise ConfigError(
                f"{group}={format_value(value)}: there is no such {group}; valid: {format_list(options, 50)}"
            )

    def _required(self) -> set[str]:
        """The groups of which the command needs a choice; their inner groups too."""
        content = yaml.safe_load((conf_dir() / f"{self.config_name}.yaml").read_text(encoding="utf-8"))
        chosen = [item for item in content["defaults"] if isinstance(item, dict)]
        groups = {str(group) for item in chosen for group, name in item.items() if name is not None}
        return groups | {"model/head"}

    def _explain(self, error: Exception, overrides: list[str]) -> str:
        if isinstance(error, MissingConfigException):
            return self._missing(error)
        empty = [item.input_line for item in parse_overrides(overrides) if item.value() is None]
        if "Config group override must be" in str(error) and empty:
            return f"{format_list(empty)}: nothing is chosen there unless it is named; leave it out"
        unknown = re.search(r"Could not (?:override|delete from config\.|delete) '([^'=@]+)", str(error))
        if isinstance(error, ConfigCompositionException) and unknown:
            key, known = unknown.group(1), self._known_keys(overrides, unknown.group(1))
            if key in known:
                return f"{key}: has no such entry; one is added by +{key}.NAME=VALUE"
            return f"{format_value(key)}: there is no such key; {suggest_key(key, known)}".rstrip("; ")
        return _reason(error)

    def _missing(self, error: MissingConfigException) -> str:
        name = str(error.missing_cfg_file)
        if missing := explain_missing_plugin(name):
            return missing
        group, _, choice = name.rpartition("/")
        options = [option for option in error.options or [] if option != "base"]
        inside = re.match(r"In '([^']+)': Could not", str(error))
        if inside and not options:
            return f"{inside.group(1)}.yaml: its defaults name {format_value(name)}, which does not exist"
        valid = format_list(options, 50) or "none yet"
        return f"{group}={format_value(choice)}: there is no such {group}; {suggest(choice, options)}Valid: {valid}"

    def _known_keys(self, overrides: list[str], wrong: str) -> list[str]:
        others = [item for item in overrides if wrong not in item]
        for attempt in (others, []):
            try:
                config = self._compose(attempt)
            except HydraException:
                continue
            arguments = {f"trainer.{name}" for name in TrainerConfig.model_fields if "trainer" in config}
            return sorted({*_keys(config), *arguments, *map(str, config.hydra.runtime.choices), "output"} - {"hydra"})
        return []

    def list_keys(self) -> list[str]:
        """Return what can be typed without quoting or a plus: keys, groups and ``output``."""
        return self._known_keys([], "")


def suggest_key(key: str, known: Iterable[str]) -> str:
    """Return a "did you mean" question; a key without its first parts (``batch_size``) is found by its last."""
    known = list(known)
    ends_alike = [name for name in known if name.endswith(f".{key}")]
    return f"did you mean '{ends_alike[0]}'? " if ends_alike else suggest(key, known)


def _reason(error: Exception) -> str:
    """What Hydra or OmegaConf says, in one line that begins with the key."""
    text = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
    added = re.match(r"Could not append to config. An item is already at '([^']+)'", text)
    if added:
        return f"+{added.group(1)}: is there already; leave out the +"
    merging = re.match(r"Error merging override ([^=\s]+)=(.*?): (.*)", text, re.DOTALL)
    if merging is None:
        return text.splitlines()[0] if text else "the configuration cannot be composed"
    key, value, reason = merging.groups()
    reasons = [ours for part, ours in REASONS.items() if part in reason]
    return f"{key}={format_value(value)}: {(reasons or [reason.splitlines()[0]])[0]}"


def _url(folder: str) -> str:
    return f"file://{Path(folder).absolute().as_posix()}"


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        if prefix == "" and key in ("hydra", "search_space"):
            continue
        name = prefix + key
        yield name
        if OmegaConf.is_dict(node._get_node(key)) and not OmegaConf.is_missing(node, key) and node[key] is not None:
            yield from _keys(node[key], f"{name}.")
