"""Imports without the collector, and the end without taking modules apart."""

import gc
import subprocess
import sys

import pytest

from medclf.process import importing


def test_the_collector_rests_while_imports_run_and_works_again_after_an_error():
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_what_was_written_is_there_and_what_was_to_be_done_at_the_end_is_done():
    code = (
        "import atexit, sys, torch; from medclf.process import leave; atexit.register(print, 'at the end')\n"
        "class Slow:\n    def __del__(self):\n        print('taken apart')\n"
        "sys.kept = Slow(); print('buffered', end=' '); leave()"
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
    code = f"{others}\nfrom medclf.process import leave; leave(); print('is still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "is still here\n"), done.stderr
