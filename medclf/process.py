"""What a process costs before and after its work."""

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def importing() -> Iterator[None]:
    """Import in less time: what imports make stays, and to look through it again and again takes up to a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def leave() -> NoReturn:
    """End the process, its work done and its files closed; to take apart all that torch has loaded takes a second."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
