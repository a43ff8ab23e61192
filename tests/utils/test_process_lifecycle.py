"""Imports without the collector, and the end without taking modules apart."""

import gc
import signal
import subprocess
import sys

import pytest

from medclf.utils.process_lifecycle import importing_libraries


def test_the_collector_rests_while_imports_run_and_works_again_after_an_error():
    with importing_libraries():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), importing_libraries():
        raise ImportError
    assert gc.isenabled()


def test_what_was_written_is_there_and_what_was_to_be_done_at_the_end_is_done():
    code = (
        "import atexit, sys, torch; from medclf.utils.process_lifecycle import exit_process\n"
        "atexit.register(print, 'at the end')\n"
        "class Slow:\n    def __del__(self):\n        print('taken apart')\n"
        "sys.kept = Slow(); print('buffered', end=' '); exit_process()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "buffered at the end\n", "")


@pytest.mark.parametrize(
    "others",
    [
        "import multiprocessing as m, time, torch; m.Process(target=time.sleep, args=[60], daemon=True).start()",
        "import threading, time, torch; threading.Thread(target=time.sleep, args=[1]).start()",
        "pass",  # there is nothing to take apart
        "import torch.distributed as d; d.init_process_group('gloo', store=d.HashStore(), rank=0, world_size=1)",
    ],
)
def test_who_is_not_alone_ends_as_ever(others):
    code = f"{others}\nfrom medclf.utils.process_lifecycle import exit_process; exit_process(); print('is still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "is still here\n"), done.stderr


WAIT = """
import os, sys, time
from medclf.utils import safe_terminal
with safe_terminal.command_errors():
    try:
        {before}
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
"""


def signalled(number, before="pass", prefix=()):
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", WAIT.format(before=before)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_process_clean_up(number):
    assert signalled(number) == (128 + number, "cleaned up\n", "\nterminated\n")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
def test_somebody_who_listens_to_sigterm_is_told_of_a_lost_terminal_too():
    """Lightning does, and calls the handler that was there before."""
    listen = "import signal; old = signal.getsignal(15); signal.signal(15, lambda *a: (old(*a), sys.exit(7)))"
    assert signalled(signal.SIGHUP, listen) == (7, "cleaned up\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="it cannot fork")
def test_a_worker_process_ends_at_once():
    fork = (
        "ends = os.pipe(); child = os.fork(); child or [os.write(ends[1], b'.'), time.sleep(20)]; os.read(ends[0], 1); "
        "os.kill(child, 15); print(os.waitpid(child, 0)[1], flush=True)"
    )
    process = subprocess.run(
        [sys.executable, "-c", WAIT.format(before=f"{fork}; sys.exit()")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert process.stdout == f"{signal.SIGTERM}\ncleaned up\n"
