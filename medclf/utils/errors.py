"""The errors whose message a user reads in place of a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LISTED_LENGTH = 300
"""Characters of an item that a message lists."""


class MedclfError(Exception):
    """Something the user can mend. The message says what is wrong, where, and how to mend it."""


class ConfigError(MedclfError):
    """The configuration is wrong."""


class DataError(MedclfError):
    """The images, or the folder they are in, are not what the configuration says."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the nearest known word as a question, or nothing: ``"did you mean 'busi'? "``."""
    nearest = suggest_word(word, known)
    return f"did you mean '{nearest}'? " if nearest else ""


def suggest_word(word: str, known: Iterable[str]) -> str:
    """Return the nearest of the known words, or an empty text."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), "")


def format_list(items: Iterable[object], limit: int = 20) -> str:
    """Return items joined by commas, the first ``limit`` of them, with a count of the rest; long ones are cut."""
    words = [_cut(str(item)).replace("\n", "\\n") for item in items]  # a name must not look like the next line
    rest = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + rest


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LISTED_LENGTH else f"{text[:MAX_LISTED_LENGTH]}…"
