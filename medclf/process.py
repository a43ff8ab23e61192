"""What a process costs before and after its work."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children


@contextmanager
def importing() -> Iterator[None]:
    """Import in less time: what imports make stays, and to look through it again and again takes up to a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def leave() -> None:
    """End the process, its work done and its files closed: to take apart all that torch has loaded takes seconds.

    One that has processes or threads at work, or trains together with others, ends as ever: they are waited for, or
    wait for it.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if "torch" not in sys.modules or others or active_children():
        return
    distributed = sys.modules["torch"].distributed
    if distributed.is_available() and distributed.is_initialized():
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
