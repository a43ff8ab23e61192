"""Regular expressions of a configuration, matched within a time limit: some would take years for one name."""

import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from medclf.config.messages import format_value
from medclf.utils.errors import ConfigError

SECONDS_A_NAME = 1.0
SECONDS_IN_ALL = 20.0
"""Time that slow matches of one pattern may take together."""
REPEATS = "*+?{"
"""Signs of repetition; with one of them alone the time grows with the square of the text's length at most."""
SLOW = 0.001
"""Seconds from which on a match counts as slow."""
_spent: defaultdict[str, float] = defaultdict(float)
"""Seconds of slow matches so far, by pattern."""


class _TimeIsUpError(Exception):
    """A match took too long."""


def bounded_search(key: str, pattern: str, text: str) -> re.Match[str] | None:
    """Return the first match of a pattern in a text, as ``re.search`` does.

    The time is bounded in the main thread of a process, and where the system has interval timers, as Linux and macOS.

    Args:
        key: configuration key of the pattern, for messages.
        pattern: valid regular expression.
        text: such as a file's name.

    Raises:
        ConfigError: when this match, or all matches of the pattern, take too long.
    """
    if sum(pattern.count(sign) for sign in REPEATS) < 2:
        return re.search(pattern, text)
    begin = time.perf_counter()
    try:
        with _time_limit(SECONDS_A_NAME):
            found = re.search(pattern, text)
    except _TimeIsUpError as error:
        raise ConfigError(
            _too_slow(key, pattern, f"takes more than {SECONDS_A_NAME:g} s for {format_value(text)}")
        ) from error
    taken = time.perf_counter() - begin
    if taken > SLOW:
        _spent[pattern] += taken
        if _spent[pattern] > SECONDS_IN_ALL:
            raise ConfigError(_too_slow(key, pattern, f"takes more than {SECONDS_IN_ALL:g} s for these names"))
    return found


def _too_slow(key: str, pattern: str, what: str) -> str:
    return f"{key}={format_value(pattern)}: {what}; write it without repetition within repetition: (a+)+ is a+"


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise _TimeIsUpError

    before = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    begin = time.perf_counter()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # somebody else's timer
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, left - (time.perf_counter() - begin)), interval)
