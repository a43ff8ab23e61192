"""Freed memory is kept: the pages of a large block are not asked for again and again."""

import os
import platform
import subprocess
import sys

import pytest

from medclf.utils.process_lifecycle import keep_freed_memory

ROUNDS = 20
BLOCKS = {
    "tensor": (40, "torch.empty(40_000_000, dtype=torch.uint8).fill_(1)"),
    "bytes": (100, "bytearray(b'1') * 100_000_000"),
}
FAULTS = f"""
import resource
import sys

import torch

from medclf.utils.process_lifecycle import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range({ROUNDS}):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    eval(sys.argv[2])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def later_faults(word, code):
    """Minor page faults of the second half of the rounds that each allocate, fill and free a block."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, word, code],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return sum(int(line) for line in done.stdout.split()[ROUNDS // 2 :])


@pytest.mark.parametrize(("megabytes", "code"), BLOCKS.values(), ids=BLOCKS)
@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are"
)
def test_a_block_of_a_size_that_was_freed_before_costs_no_page(megabytes, code):
    """The first rounds may: glibc 2.36 finds an aligned block, as tensors are, again only after seven of them."""
    huge_pages = (ROUNDS - ROUNDS // 2) * (megabytes // 2 - 2)
    returned, kept = later_faults("return", code), later_faults("keep", code)
    assert returned > huge_pages
    assert kept < 0.2 * huge_pages


@pytest.mark.parametrize(("system", "library"), [("linux", ""), ("linux", "musl"), ("darwin", "glibc")])
def test_another_c_library_is_left_as_it_is(monkeypatch, system, library):
    monkeypatch.setattr("medclf.utils.process_lifecycle.sys.platform", system)
    monkeypatch.setattr("medclf.utils.process_lifecycle.platform.libc_ver", lambda: (library, ""))
    monkeypatch.delattr("medclf.utils.process_lifecycle.ctypes.CDLL")
    assert keep_freed_memory() is False
