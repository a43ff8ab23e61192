"""What a wrong value of a configuration is reported as: one line, the key first."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from medclf.utils.errors import format_list, suggest

MAX_SHOWN = 80
"""Characters of a value that a message shows."""
ARGUMENT = "argument"
"""Type of an error about a further entry of a node; its context has the name of the entry in the list ``at``."""
MAX_MISSING = 3
"""Missing keys of one group that have a line each."""
WHAT = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "none_required": "must be null",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "list_type": "must be a list, such as [a,b]",
    "dict_type": "must have entries by name, such as {a: 1}",
    "model_type": "must have entries by name, such as {a: 1}",
    "greater_than": "must be above <gt>",
    "greater_than_equal": "must be at least <ge>",
    "less_than": "must be below <lt>",
    "less_than_equal": "must be at most <le>",
    "literal_error": "must be one of <expected>",
    "string_too_long": "must have at most <max_length> characters",
    "string_too_short": "must have at least <min_length> characters",
    "too_long": "must have at most <max_length> entries",
    "too_short": "must have at least <min_length> entries",
}
"""By pydantic's name of an error."""


def format_validation_errors(error: ValidationError, schema: type[BaseModel], prefix: str = "") -> str:
    """Return a line for each wrong key.

    Args:
        error: of the schema.
        schema: what was expected.
        prefix: key of what was validated, such as ``callbacks.samples``; empty for a whole configuration.
    """
    found: list[dict[str, Any]] = [dict(item) for item in error.errors(include_url=False)]
    missing = Counter(_key(item["loc"][:-1], prefix) for item in found if item["type"] == "missing")
    many = {key for key, count in missing.items() if count > MAX_MISSING}
    lines = []
    for item in found:
        parent = _key(item["loc"][:-1], prefix)
        together = item["type"] == "missing" and parent in many
        lines.append(_lacking(parent, found, prefix) if together else _line(item, schema, prefix))
    return "\n".join(dict.fromkeys(lines))


def format_file_error(error: ValidationError, schema: type[BaseModel], prefix: str = "") -> str:
    """Return what is wrong with the first wrong value of a file; arguments as ``format_validation_errors``."""
    first: dict[str, Any] = dict(error.errors(include_url=False)[0])
    if first["type"] == "missing":
        return f"{_key(first['loc'], prefix)} is missing"
    return _line(first, schema, prefix)


def _key(location: Sequence[Any], prefix: str) -> str:
    return ".".join(([prefix] if prefix else []) + [format_value(str(part)) for part in location if part != "[key]"])


def _lacking(parent: str, found: list[dict[str, Any]], prefix: str) -> str:
    """One line for many missing keys, as of a file that does not begin with those of all files of its group."""
    names = [
        item["loc"][-1] for item in found if item["type"] == "missing" and _key(item["loc"][:-1], prefix) == parent
    ]
    return (
        f"{parent or 'the configuration'}: {format_list(names)} are missing; if the file is your own, let it begin "
        "with "
        "defaults: [base, _self_]"
    )


def format_value(value: Any) -> str:
    """Return a value as it is typed on the command line, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = _typed(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(format_value(item) for item in value[:MAX_SHOWN])}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {format_value(item)}' for key, item in list(value.items())[:MAX_SHOWN])}}}"
    return str(value)[: MAX_SHOWN + 1] if isinstance(value, str) else _number(value)


def _number(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 4 * MAX_SHOWN:
        return f"{value:.3e}" if value.bit_length() < 1000 else "a number of hundreds of digits"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)[: MAX_SHOWN + 1]


def _line(item: dict[str, Any], schema: type[BaseModel], prefix: str) -> str:
    inner = item["ctx"]["at"] if item["type"] == ARGUMENT else []
    location = [str(part) for part in [*item["loc"], *inner] if part != "[key]"]
    key = _key(location, prefix)
    if item["type"] == "extra_forbidden":
        known = _fields(schema, location[:-1])
        return f"{key}: there is no such key; {suggest(location[-1], known)}Valid: {format_list(known, 50) or 'none'}"
    if item["type"] == "missing":
        return f"{key}: is missing; set it: {key}=VALUE"
    if item["type"] == ARGUMENT:
        return f"{key}: {item['msg']}"
    what = WHAT.get(item["type"])
    if what is None:
        what = item["msg"].removeprefix("Value error, ")
    for name, bound in item.get("ctx", {}).items():
        what = what.replace(f"<{name}>", format_value(bound))
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # of a whole node: the message names its keys
        return f"{key}: {what}" if key else what
    return f"{key}={format_value(item['input'])}: {what}"


def _fields(schema: Any, location: list[str]) -> list[str]:
    """The keys that a schema has at a place."""
    for part in location:
        field = getattr(schema, "model_fields", {}).get(part)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        schema = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    fields = getattr(schema, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]
