"""The message about an option typed with a dash: options are ``key=value``."""

import shlex
from collections.abc import Sequence

from medclf.utils.errors import suggest_word


def format_dashed(word: str, following: Sequence[str], known: Sequence[str]) -> str:
    """Return the message about a word such as ``--output``: options are ``key=value``.

    Args:
        word: typed, beginning with a dash.
        following: the words after it, the first of which may be its value.
        known: keys of the command.
    """
    name, sign, value = word.lstrip("-").partition("=")
    name = {"o": "output"}.get(name, name.replace("-", "_"))
    closest = _find_closest(name, known) if name else ""
    if not closest:
        return f"{word}: options are typed as key=value; --help lists them"
    if not sign:
        value = next((text for text in following[:1] if not text.startswith("-")), "VALUE")
    typed = f"{closest}={value}"
    return f"{word}: options are typed as key=value: {shlex.quote(typed)}"


def _find_closest(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    beginning = [key for key in known if key.startswith(name)]
    inner = [key for key in known if key.endswith(f".{name}")]
    return next(iter(inner), beginning[0] if len(beginning) == 1 else suggest_word(name, known))
