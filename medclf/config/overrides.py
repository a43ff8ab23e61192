"""The words of a command line as Hydra reads them, and the jobs of a sweep among them."""

import math
from collections.abc import Iterator

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, ValueType
from hydra.errors import HydraException

from medclf.config.field_types import path_text
from medclf.config.limits import MAX_JOBS, MAX_OVERRIDE, MAX_OVERRIDES
from medclf.config.messages import format_value
from medclf.utils.errors import ConfigError

FOLDERS = ("output", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "resume")
"""Keys of folders that are looked for before the configuration is checked."""
LISTABLE = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.RANGE_SWEEP)


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Return Hydra's reading of the overrides.

    Raises:
        ConfigError: for one that cannot be read, is too long, or sweeps over too many values; and for too many of them.
    """
    if len(overrides) > MAX_OVERRIDES:
        raise ConfigError(f"{len(overrides)} words are too many: at most {MAX_OVERRIDES}; put them into a file")
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if len(text) > MAX_OVERRIDE:
            raise ConfigError(
                f"{format_value(text)}: has {len(text)} characters; at most {MAX_OVERRIDE}; put it into a file"
            )
        try:
            parsed.append(parser.parse_override(text))
        except (HydraException, RecursionError, ValueError) as error:
            raise ConfigError(_unreadable(text)) from error
        if not parsed[-1].key_or_group:
            raise ConfigError(f"{format_value(text)}: cannot be read: must be key=value")
        _check_path(parsed[-1])
        _count(parsed[-1])
    return parsed


def get_key(item: Override) -> str:
    """Return the key or group that an override is about, without the ``+``, ``++`` or ``~`` in front of it."""
    key = str(item.key_or_group)
    return key if item.package is None else f"{key}@{item.package}"


def _check_path(item: Override) -> None:
    """Refuse the path of a folder that cannot exist; those of other keys are the schema's to check."""
    value = item.value()
    if get_key(item) in FOLDERS and isinstance(value, str):
        try:
            path_text(value)
        except ValueError as error:
            raise ConfigError(f"{get_key(item)}={format_value(value)}: {error}") from error


def expand_jobs(overrides: list[str], multirun: bool) -> Iterator[list[str]]:
    """Yield the overrides of the jobs to check: each value of each swept key once, first values elsewhere.

    Keys swept over what cannot be listed here (an interval, a glob) are left at their default.

    Raises:
        ConfigError: for more than MAX_JOBS combinations.
    """
    if not multirun:
        yield overrides
        return
    parsed = parse_overrides(overrides)
    listable = [item for item in parsed if not item.is_sweep_override() or item.value_type in LISTABLE]
    values = [_values(item) for item in listable]
    first = [choice[0] for choice in values]
    yield first
    for position, (item, choice) in enumerate(zip(listable, values, strict=True)):
        if item.is_choice_sweep():
            for value in choice[1:]:
                yield [*first[:position], value, *first[position + 1 :]]


def validate_combinations(swept: list[Override], most: int) -> None:
    """Raise if the values of all swept keys make too many combinations.

    Raises:
        ConfigError: with the keys and their counts.
    """
    counts = {item.get_key_element(): _count(item) for item in swept if item.is_sweep_override()}
    jobs = math.prod(counts.values())
    if jobs > most:
        each = ", ".join(f"{key} has {count}" for key, count in counts.items())
        raise ConfigError(f"-m: {jobs} combinations are too many ({each}); at most {most}; sweep over fewer values")


def _count(item: Override) -> int:
    """How many values a key has; counted before any list of them is made."""
    value = item.value()
    if isinstance(value, RangeSweep):
        count = _length(item, value)
    else:
        count = len(value.list) if isinstance(value, ChoiceSweep) else 1
    if count > MAX_JOBS:
        raise ConfigError(f"{item.input_line}: has {count} values; at most {MAX_JOBS}")
    return count


def _length(item: Override, value: RangeSweep) -> int:
    start, stop, step = (float(part) for part in (value.start or 0, value.stop or 0, value.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise ConfigError(f"{item.input_line}: a range needs finite bounds and a step other than 0, such as range(0,5)")
    count = math.ceil(min((stop - start) / step, 1e15))
    if count < 1:
        raise ConfigError(f"{item.input_line}: has no value; the end of a range comes after its beginning: range(0,5)")
    return count


def _values(item: Override) -> list[str]:
    if not item.is_sweep_override():
        return [str(item.input_line)]
    return [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]


def _unreadable(text: str) -> str:
    key, sign, value = text.partition("=")
    if not sign:
        return f"{format_value(text)}: cannot be read: must be key=value"
    plain = value.replace("_", "").isprintable() and not set("'\"\\") & set(value)
    example = f"'{key}=\"{value}\"'" if plain and len(text) < 200 else "'key=\"value\"'"
    return f"{format_value(text)}: cannot be read; put a value with special characters in quotes: {example}"
