"""JSON and YAML as plain data: nothing in it is imported, resolved or built, and its size and depth are bounded.

YAML is read without aliases and with its basic types alone, so that a small file cannot expand to a large one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from medclf.utils.atomic_write import write_text
from medclf.utils.errors import DataError
from medclf.utils.regular_files import open_regular

MAX_BYTES = 2**26
"""A larger JSON or YAML file is not read."""
MAX_DEPTH = 40
"""Deeper nesting is not read."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader is about ten times as fast."""


def read_json(path: Path, allow_nan: bool = False) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        path: of the file.
        allow_nan: whether NaN and Infinity, which JSON does not have, are read as floats.

    Raises:
        DataError: for a file that is missing, not regular, too large, too deep, damaged, or not an object.
    """
    text = _text(path)
    try:
        content = json.loads(
            text, object_pairs_hook=_without_repeats, parse_constant=float if allow_nan else _refuse_constant
        )
    except RecursionError as error:
        raise DataError(f"{path}: is nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return _mapping(path, content)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; a string that looks like an expression stays a string.

    Raises:
        DataError: for a file that is missing, not regular, too large, too deep, damaged, or not a mapping.
    """
    text = _text(path)
    try:
        _check_events(path, text)
        content = yaml.load(text, LOADER)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
    return _mapping(path, content)


def write_json(path: Path, content: dict[str, Any]) -> str:
    """Write a JSON file whole or not at all.

    Returns:
        The SHA-256 of the file as 64 hexadecimal digits.

    Raises:
        ValueError: for NaN and infinity, which JSON does not have.
    """
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write a YAML file whole or not at all, its keys in their order."""
    write_text(path, yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys joined by dots; lists and empty mappings are values."""
    out: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        out |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return out


class _Dumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice, since ``read_yaml`` takes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"{path}: is larger than {MAX_BYTES >> 20} MiB, which no file of medclf is")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON has")


def _check_events(path: Path, text: str) -> None:
    """Refuse aliases and deep nesting before any object is made."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise DataError(f"{path}: holds an alias (*{event.anchor}), which is not read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DataError(f"{path}: is nested more than {MAX_DEPTH} levels deep")


def _mapping(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no entries by name")
    if any(depth > MAX_DEPTH for depth in _depths(content)):
        raise DataError(f"{path}: is nested more than {MAX_DEPTH} levels deep")
    return content


def _depths(content: Any) -> Iterator[int]:
    """The depth of every list and mapping, counted without recursion."""
    waiting = [(content, 1)]
    while waiting:
        value, depth = waiting.pop()
        yield depth
        inner = value.values() if isinstance(value, dict) else value
        waiting += [(item, depth + 1) for item in inner if isinstance(item, dict | list)]


def _first_line(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark is not None else ""
    return place + (str(getattr(error, "problem", None) or error).splitlines() or [type(error).__name__])[0]
