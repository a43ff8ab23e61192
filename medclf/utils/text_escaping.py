"""Text from data inside Markdown and HTML: it stays text, whatever it holds."""

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

_SPACE = re.compile(r"\s+")
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, signs that reorder text, and halves of surrogate pairs."""


def to_one_line(text: str) -> str:
    """Return one line without control characters and without signs that change the direction of writing."""
    return _HIDDEN.sub("\ufffd", _SPACE.sub(" ", text))


def escape_html(value: Any) -> Any:
    """Return what a template of HTML shows of a value; escaping is left to the template, and markup stays as it is."""
    return to_one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def escape_markdown(text: str) -> str:
    """Return one line of text in which a reader of Markdown finds no tag, link, image or code."""
    return to_one_line(text).replace("<", "&lt;").replace("`", "'").replace("](", "]\\(")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return escape_markdown(text).replace("|", "\\|")
