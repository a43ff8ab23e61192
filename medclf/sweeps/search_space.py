"""A search as it was typed: its space among the overrides that are checked, and what cannot be a search. No Optuna."""

from collections.abc import Collection, Mapping
from pathlib import Path

from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from omegaconf import DictConfig

from medclf.config.composition import Composer
from medclf.config.conf_folder import conf_dir
from medclf.config.hydra_plugins import validate_plugins
from medclf.config.limits import MAX_JOBS
from medclf.config.overrides import parse_overrides, validate_combinations
from medclf.config.user_config_validation import list_options
from medclf.utils.errors import ConfigError, format_list, suggest

GRID_SHARES = (0.25, 0.5, 0.75)
"""Where in an interval a grid has its values."""


def add_search_space(composer: Composer, overrides: list[str], multirun: bool) -> list[str]:
    """Return the overrides after the configured search space, an interval as a sweep over its ends.

    Args:
        composer: of the command.
        overrides: as typed.
        multirun: whether they are those of a sweep.

    Raises:
        ConfigError: for a search that is no sweep, that looks for the best of several monitors, or has no trial.
    """
    parsed = parse_overrides(overrides)
    typed = {item.get_key_element(): item for item in parsed}
    if not multirun:
        for group in {"hpo", "launcher"} & typed.keys():
            if "resume" not in typed and typed[group].value() is not None:
                raise ConfigError(f"{typed[group].input_line}: is for a sweep, and a single run was asked for; add -m")
        return overrides
    node = composer.compose(
        [text for text, item in zip(overrides, parsed, strict=True) if not item.is_sweep_override()]
    )
    choices = node.hydra.runtime.choices
    if "hpo/space" in typed:
        _check_name(str(typed["hpo/space"].value()), composer)
    validate_plugins(node)
    _check_globs(parsed, composer)
    params = parse_overrides([f"{key}={value}" for key, value in (node.hydra.sweeper.get("params") or {}).items()])
    space = [item for item in params if item.get_key_element() not in typed]
    if choices.get("hpo"):
        _check_space(node, [*space, *(item for item in parsed if item.is_sweep_override())])
    else:
        validate_combinations(parsed, MAX_JOBS)
    return [*map(_listable, space), *map(_listable, parsed)]


def list_grid_values(space: Mapping[str, str], left_out: Collection[str] = ()) -> dict[str, str]:
    """Replace each interval of a search space by three values: at a quarter, half and three quarters of it.

    Args:
        space: values or interval of each key, as Hydra's sweeper reads them; an interval tagged ``log`` is divided on
            a logarithmic scale, and one of whole numbers, ``int(interval(1,9))``, gives whole numbers.
        left_out: keys that are not searched.
    """
    return {key: _grid_values(f"{key}={value}", str(value)) for key, value in space.items() if key not in left_out}


def _grid_values(override: str, value: str) -> str:
    (parsed,) = parse_overrides([override])
    interval = parsed.value()
    if not isinstance(interval, IntervalSweep):
        return value
    low, high = float(interval.start or 0), float(interval.end or 0)
    if "log" in interval.tags and low > 0:
        values = [low * (high / low) ** share for share in GRID_SHARES]
    else:
        values = [low + (high - low) * share for share in GRID_SHARES]
    whole = isinstance(interval.start, int) and isinstance(interval.end, int)
    return ",".join(dict.fromkeys(f"{round(one)}" if whole else f"{one:.2g}" for one in values))


def _check_name(name: str, composer: Composer) -> None:
    """Hydra would say nothing: where no file is named after a model, none is needed."""
    folders = [conf_dir(), *([] if composer.config_dir is None else [Path(composer.config_dir)])]
    places = [folder / "hpo" / "space" for folder in folders]
    known = [path.relative_to(place).with_suffix("").as_posix() for place in places for path in place.rglob("*.yaml")]
    if name not in known:
        valid = format_list(sorted(known))
        raise ConfigError(f"hpo/space={name}: there is no such space; {suggest(name, known)}Valid: {valid}")


def _check_globs(parsed: list[Override], composer: Composer) -> None:
    for item in parsed:
        if isinstance(item.value(), Glob) and not list_options(str(item.key_or_group), composer.folders):
            raise ConfigError(
                f"{item.input_line}: glob is for groups such as model; name the values: {item.get_key_element()}=A,B"
            )


def _check_space(node: DictConfig, space: list[Override]) -> None:
    hpo = node.hydra.runtime.choices.hpo
    if node.hydra.callbacks.search.grid:
        validate_combinations(space, MAX_JOBS)
    if not any(item.is_sweep_override() for item in space):
        raise ConfigError(f"hpo={hpo}: every key has one value, so there is nothing to search; give one several")
    for item in space:
        key = item.get_key_element()
        if key == "monitor":
            raise ConfigError(f"monitor: is what hpo={hpo} makes best, so it has one value; search once for each")
        if node.hydra.callbacks.search.grid and item.is_interval_sweep():
            raise ConfigError(f"{key}: hpo={hpo} tries single values, and an interval has none: {key}=0.001,0.003,0.01")


def _listable(item: Override) -> str:
    value = item.value()
    if isinstance(value, IntervalSweep):
        return f"{item.get_key_element()}={value.start},{value.end}"
    return str(item.input_line)
