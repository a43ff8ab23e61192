"""How a process starts and ends."""

import atexit
import ctypes
import gc
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from types import FrameType


@contextmanager
def importing_libraries() -> Iterator[None]:
    """Import in less time: what imports make stays, and to look through it again and again takes up to a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def exit_process() -> None:
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


class Terminated(SystemExit):
    """SIGTERM or SIGHUP: a cluster or a person ends the process, or its terminal is gone."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into ``Terminated``, so that unfinished files are removed and the record is written.

    A handler that somebody has set before is kept (``nohup`` ignores SIGHUP). A second signal ends the process at once.
    """
    owner = os.getpid()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker process, which has inherited this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif signal.getsignal(signal.SIGTERM) is end:
            for one in mine:
                signal.signal(one, signal.SIG_DFL)
            raise Terminated(128 + number)
        elif number != signal.SIGTERM:  # Lightning listens to SIGTERM now, and saves a checkpoint before it ends
            os.kill(os.getpid(), signal.SIGTERM)

    is_main = threading.current_thread() is threading.main_thread()
    mine = [number for number in numbers if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


# of glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, for the next step needs as much again.

    glibc gives every large tensor back to the system, which clears its pages anew for the next one: on a CPU a sixth of
    a ResNet's training and nearly half of a small network's. The peak of training a ResNet grows by about 5 %.

    Returns:
        Whether it was done: with glibc, the C library of most Linux systems.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(key, value) for key, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20)))
