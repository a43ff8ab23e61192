"""Commands that take ``key=value`` words and need neither Hydra nor conf/, so that any path may be a value."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from medclf.config.field_types import path_text
from medclf.config.messages import format_validation_errors, format_value
from medclf.config.schema import Checked, StrictModel
from medclf.utils.errors import ConfigError, format_list, suggest
from medclf.utils.terminal import command_errors


def run_key_value_command(
    kind: type[Checked], work: Callable[[Checked], None], words: Sequence[str] | None = None
) -> None:
    """Check what was typed and do the work; what a user can mend ends it with one message and exit code 2.

    Args:
        kind: the keys of the command with their defaults; its docstring and the ``description`` of each field are what
            ``--help`` prints.
        work: takes the checked configuration.
        words: those typed; None: of ``sys.argv``.
    """
    typed = list(sys.argv[1:] if words is None else words)
    if not typed or {"-h", "--help"} & set(typed):
        sys.stdout.write(format_help(kind))
        return
    with command_errors():
        work(parse_words(kind, typed))


def parse_words(kind: type[Checked], words: Sequence[str]) -> Checked:
    """The configuration that words such as ``batch_size=8`` make; ``null`` is no value, and the rest is text.

    Raises:
        ConfigError: for a word that is no ``key=value``, an unknown key or one typed twice, a wrong value.
    """
    known = list(kind.model_fields)
    values: dict[str, str | None] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise ConfigError(f"{format_value(word)}: must be key=value; the keys are {format_list(known)}")
        if key not in known:
            raise ConfigError(
                f"{format_value(key)}: there is no such key; {suggest(key, known)}Valid: {format_list(known)}"
            )
        if key in values:
            raise ConfigError(f"{key}: is typed twice")
        values[key] = None if value == "null" else _checked_text(key, value)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(format_validation_errors(error, kind)) from error


def _checked_text(key: str, value: str) -> str:
    """All text values are paths or short names."""
    try:
        return path_text(value)
    except ValueError as error:
        raise ConfigError(f"{key}={format_value(value)}: {error}") from error


def format_help(kind: type[StrictModel]) -> str:
    """The docstring of the configuration, and a line for each key: its default and what it does."""
    lines = [_dedented(kind.__doc__ or ""), ""]
    for name, field in kind.model_fields.items():
        default = "" if field.is_required() else _shown(field.default)
        lines.append(f"  {name + '=' + default:<24} {field.description or ''}".rstrip())
    return "\n".join(lines) + "\n"


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.strip().splitlines())


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
