"""Composing the configuration ahead of Hydra's own run, so that what is wrong is said before a folder is made."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medclf.config.paths import conf_dir
from medclf.errors import ConfigError, did_you_mean, listed
from medclf.search.plugins import plugin_missing

LISTABLE = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.RANGE_SWEEP)


@dataclass(frozen=True)
class Composer:
    """Composes what a command line asks for: the config's name, and a folder of the user's own configs or None."""

    config_name: str
    config_dir: str | None = None

    def compose(self, overrides: list[str]) -> DictConfig:
        """The configuration, Hydra's own node included.

        Raises:
            ConfigError: for a choice or a key that does not exist, with the nearest one that does.
        """
        try:
            return self._compose(overrides)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(self._explain(error, overrides)) from error

    def _compose(self, overrides: list[str]) -> DictConfig:
        path = [] if self.config_dir is None else [f"hydra.searchpath=[{quoted(_url(self.config_dir))}]"]
        with initialize_config_dir(str(conf_dir()), job_name=self.config_name, version_base="1.3"):
            node: DictConfig = compose(self.config_name, overrides=[*overrides, *path], return_hydra_config=True)
        return node

    def _explain(self, error: Exception, overrides: list[str]) -> str:
        if isinstance(error, OverrideParseException):
            return _unreadable(error)
        if isinstance(error, MissingConfigException) and (missing := plugin_missing(str(error.missing_cfg_file))):
            return missing
        if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            options = [option for option in error.options or [] if option != "base"]
            valid = listed(options, 50) or "none yet"
            return f"{group}={name}: there is no such {group}; {did_you_mean(name, options)}Valid: {valid}"
        unknown = re.search(r"Could not (?:override|delete) '([^'=@]+)", str(error))
        if isinstance(error, ConfigCompositionException) and unknown:
            key, known = unknown.group(1), self._known_keys(overrides, unknown.group(1))
            if key in known:
                return f"{key}: has no such entry; one is added by +{key}.NAME=VALUE"
            return f"{key}: there is no such key; {did_you_mean_key(key, known)}".rstrip("; ")
        cause = f": {error.__cause__}" if error.__cause__ else ""
        return f"{error}{cause}"

    def _known_keys(self, overrides: list[str], wrong: str) -> list[str]:
        others = [item for item in overrides if wrong not in item]
        for attempt in (others, []):
            try:
                config = self._compose(attempt)
            except HydraException:
                continue
            return sorted({*_keys(config), *map(str, config.hydra.runtime.choices)} - {"hydra"})
        return []


def did_you_mean_key(key: str, known: Iterable[str]) -> str:
    """As did_you_mean; a key that lacks only its first parts (``batch_size``) is found by its last one."""
    known = list(known)
    ends_alike = [name for name in known if name.endswith(f".{key}")]
    return f"did you mean '{ends_alike[0]}'? " if ends_alike else did_you_mean(key, known)


def jobs(overrides: list[str], multirun: bool) -> Iterator[list[str]]:
    """The overrides of the jobs to check: each value of each swept key once, the first value for the other keys.

    Keys swept over what cannot be listed here (an interval, a glob) are left at their default.
    """
    if not multirun:
        yield overrides
        return
    parsed = parse(overrides)
    listable = [item for item in parsed if not item.is_sweep_override() or item.value_type in LISTABLE]
    values = [_values(item) for item in listable]
    first = [choice[0] for choice in values]
    yield first
    for position, (item, choice) in enumerate(zip(listable, values, strict=True)):
        if item.is_choice_sweep():
            for value in choice[1:]:
                yield [*first[:position], value, *first[position + 1 :]]


def _values(item: Override) -> list[str]:
    if not item.is_sweep_override():
        return [str(item.input_line)]
    return [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]


def parse(overrides: list[str]) -> list[Override]:
    """Hydra's reading of the overrides.

    Raises:
        ConfigError: for one that cannot be read.
    """
    try:
        return list(OverridesParser.create().parse_overrides(overrides))
    except OverrideParseException as error:
        raise ConfigError(_unreadable(error)) from error


def _unreadable(error: OverrideParseException) -> str:
    return (
        f"{error.override}: cannot be read: {error.message}. Put a value with special signs in quotes: 'key=\"value\"'"
    )


def quoted(text: str) -> str:
    """Return text as a quoted value of an override, in which nothing is an expression."""
    return str(QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes())


def _url(folder: str) -> str:
    return f"file://{Path(folder).absolute().as_posix()}"


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        if prefix == "" and key == "hydra":
            continue
        name = prefix + key
        yield name
        if OmegaConf.is_dict(node._get_node(key)) and not OmegaConf.is_missing(node, key) and node[key] is not None:
            yield from _keys(node[key], f"{name}.")
