"""Bound the memory that threads decoding images in parallel use together."""

import ctypes
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from medclf.utils.file_limits import DECODING_BYTES, READING_BYTES

LARGE = 2**27
"""Bytes of decoded images above which freed memory is returned to the system."""


class MemoryBudget:
    """Bytes that threads share. Requests are served in order; one above the whole budget waits until it is alone.

    Args:
        limit: bytes in use at the same time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._turn = threading.Lock()
        self._released = threading.Condition()

    def acquire(self, count: int, wait: bool = True) -> None:
        """Take bytes, once enough are free. With ``wait=False`` take them at once, even beyond the limit."""
        if not wait:
            self._take(count)
            return
        with self._turn, self._released:
            self._released.wait_for(lambda: self._used == 0 or self._used + count <= self.limit)
            self._take(count)

    def release(self, count: int) -> None:
        """Give bytes back."""
        with self._released:
            self._used -= count
            self._released.notify_all()

    def _take(self, count: int) -> None:
        with self._released:
            self._used += count


READING, DECODING = MemoryBudget(READING_BYTES), MemoryBudget(DECODING_BYTES)
_thread = threading.local()


@contextmanager
def decoding_memory() -> Iterator[None]:
    """Hold what ``reserve`` takes in this thread until the block ends: enclose decoding and what uses the image.

    The image should be gone by the end of the block, so keep it in no variable of the enclosing function.
    """
    if getattr(_thread, "held", None) is not None:
        yield
        return
    held: list[tuple[MemoryBudget, int]] = []
    _thread.held = held
    try:
        yield
    finally:
        _thread.held = None
        if sum(count for _, count in held) >= LARGE:
            _return_freed_memory()
        for budget, count in held:
            budget.release(count)


def _return_freed_memory() -> None:
    """Give freed memory back to the system: glibc keeps it apart for each thread, so that many add up."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _has_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def reserve_memory(budget: MemoryBudget, count: int) -> None:
    """Take bytes from a budget for the enclosing ``decoding`` block.

    A thread that already holds some of the same budget does not wait: two such threads would wait for each other.
    """
    held: list[tuple[MemoryBudget, int]] = _thread.held
    budget.acquire(count, wait=all(owner is not budget for owner, _ in held))
    held.append((budget, count))
