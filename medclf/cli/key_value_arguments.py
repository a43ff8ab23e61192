"""Commands that take ``key=value`` words and need neither Hydra nor conf/, so that any path may be a value."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from medclf.cli.option_suggestions import format_dashed
from medclf.config.field_types import path_text
from medclf.config.messages import format_validation_errors, format_value
from medclf.config.schema import Checked, StrictModel
from medclf.utils.errors import ConfigError, format_list, suggest
from medclf.utils.safe_terminal import command_errors

OPENING, CLOSING = "[{(", "]})"


def run_key_value_command(
    kind: type[Checked], work: Callable[[Checked], None], words: Sequence[str] | None = None, positional: str = ""
) -> None:
    """Check what was typed and do the work; what a user can mend ends it with one message and exit code 2.

    Args:
        kind: the keys of the command with their defaults; its docstring and the ``description`` of each field are what
            ``--help`` prints.
        work: takes the checked configuration.
        words: those typed; None: of ``sys.argv``.
        positional: key of the list that words without a key fill; empty: every word needs a key.
    """
    typed = list(sys.argv[1:] if words is None else words)
    if not typed or {"-h", "--help"} & set(typed):
        sys.stdout.write(format_help(kind, positional))
        return
    with command_errors():
        work(parse_words(kind, typed, positional))


def parse_words(kind: type[Checked], words: Sequence[str], positional: str = "") -> Checked:
    """Return the configuration that words such as ``batch_size=8`` make.

    ``null`` is no value, ``[a,b]`` a list where the key takes one, and the rest is text. With ``positional``, a path
    that exists needs no key even if its name has an equals sign.

    Raises:
        ConfigError: for a word that is no ``key=value``, an unknown key or one typed twice, a wrong value.
    """
    known = list(kind.model_fields)
    values: dict[str, Any] = {}
    unnamed: list[str] = []
    for position, word in enumerate(words):
        key, sign, value = word.partition("=")
        if word.startswith("-"):
            raise ConfigError(format_dashed(word, words[position + 1 :], known))
        if positional and word and (not sign or (key not in known and Path(word).exists())):
            unnamed.append(_checked_text(positional, word))
            continue
        if not sign or not key:
            raise ConfigError(f"{format_value(word)}: must be key=value; the keys are {format_list(known)}")
        if key not in known:
            raise ConfigError(
                f"{format_value(key)}: there is no such key; {suggest(key, known)}Valid: {format_list(known)}"
            )
        if key in values:
            several = f"; write several in brackets: {key}=[A,B]" if _is_list(kind.model_fields[key].annotation) else ""
            raise ConfigError(f"{key}: is typed twice{several}")
        values[key] = None if value == "null" else _parse_value(kind, key, value)
    if unnamed and positional in values:
        raise ConfigError(f"{positional}: {unnamed[0]} is typed without this key; type all of them in one way")
    if unnamed:
        values[positional] = tuple(unnamed)
    elif positional and positional not in values:
        raise ConfigError(f"{positional}: none is named; type one or more {_singular(positional)}, without a key")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(format_validation_errors(error, kind)) from error


def _parse_value(kind: type[StrictModel], key: str, value: str) -> Any:
    if not _is_list(kind.model_fields[key].annotation):
        return _checked_text(key, value)
    if value.startswith("[") and value.endswith("]"):
        items = split_list(value[1:-1])
        if "" in items:
            raise ConfigError(f"{key}={format_value(value)}: has an empty entry; leave out a comma")
        return tuple(_checked_text(key, item) for item in items)
    if "," in value and not Path(value).exists() and len(split_list(value)) > 1:
        raise ConfigError(f"{key}={format_value(value)}: write several in brackets: {shlex.quote(f'{key}=[{value}]')}")
    return (_checked_text(key, value),)


def split_list(text: str) -> list[str]:
    """Return the items of a list, split at the commas that are outside of brackets and quotes.

    Quotes around a whole item are left out.
    """
    items, begin, depth, quote = [], 0, 0, ""
    for at, sign in enumerate(text):
        if quote or sign in "'\"":
            quote = "" if sign == quote else quote or sign
        elif sign == "," and depth == 0:
            items.append(text[begin:at])
            begin = at + 1
        else:
            depth += (sign in OPENING) - (sign in CLOSING)
    items.append(text[begin:])
    stripped = [_unquoted(item.strip()) for item in items]
    return [] if stripped == [""] else stripped


def _unquoted(item: str) -> str:
    quoted = len(item) > 1 and item[0] == item[-1] and item[0] in "'\"" and item[0] not in item[1:-1]
    return item[1:-1] if quoted else item


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (list, tuple) or any(map(_is_list, get_args(annotation)))


def _checked_text(key: str, value: str) -> str:
    """All text values are paths or short names."""
    try:
        return path_text(value)
    except ValueError as error:
        raise ConfigError(f"{key}={format_value(value)}: {error}") from error


def format_help(kind: type[StrictModel], positional: str = "") -> str:
    """Return the docstring of a configuration and a line for each key, with its default and meaning."""
    lines = [_dedented(kind.__doc__ or ""), ""]
    for name, field in kind.model_fields.items():
        default = "" if field.is_required() else _shown(field.default)
        shown = f"{_singular(name)} ..." if name == positional else f"{name}={default}"
        lines.append(f"  {shown:<24} {field.description or ''}".rstrip())
    return "\n".join(lines) + "\n"


def _singular(name: str) -> str:
    return name.removesuffix("s").upper()


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.strip().splitlines())


def _shown(value: Any) -> str:
    return format_value(value) if value is None or isinstance(value, bool | tuple) else str(value)
