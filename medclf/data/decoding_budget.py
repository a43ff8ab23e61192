"""Bound the memory that threads decoding images in parallel use together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medclf.config.image_limits import DECODING_BYTES, READING_BYTES


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
def decoding() -> Iterator[None]:
    """Hold what ``reserve`` takes in this thread until the block ends: enclose decoding and what uses the image."""
    if getattr(_thread, "held", None) is not None:
        yield
        return
    held: list[tuple[MemoryBudget, int]] = []
    _thread.held = held
    try:
        yield
    finally:
        _thread.held = None
        for budget, count in held:
            budget.release(count)


def reserve(budget: MemoryBudget, count: int) -> None:
    """Take bytes from a budget for the enclosing ``decoding`` block.

    A thread that already holds some of the same budget does not wait: two such threads would wait for each other.
    """
    held: list[tuple[MemoryBudget, int]] = _thread.held
    budget.acquire(count, wait=all(owner is not budget for owner, _ in held))
    held.append((budget, count))
