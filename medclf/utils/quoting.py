"""Commands that can be pasted into a shell as they are, whatever their values hold."""

import re
import shlex
from contextlib import suppress

_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)
"""Values that neither a shell nor Hydra's grammar reads in another way, but for words and numbers."""
_WORDS = ("null", "true", "false")


def format_override(key: str, value: str) -> str:
    """Return ``key=value`` as Hydra reads it as text: what is special is quoted, and nothing in it is resolved."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not _is_number(value):
        return f"{key}={value}"
    return f"{key}={quote_value(value)}"


def quote_value(value: str) -> str:
    """Return a value of an override in quotes, in which nothing is an expression."""
    # backslashes count only in front of a quote and at the end, where they are doubled
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return "'" + escaped.replace("${", "\\${") + "'"


def format_command(module: str, *overrides: str) -> str:
    """Return a command line of medclf, quoted for a shell where that is needed."""
    return " ".join([f"python -m medclf.{module}", *map(shlex.quote, overrides)])


def _is_number(value: str) -> bool:
    with suppress(ValueError):
        float(value)
        return True
    return False
