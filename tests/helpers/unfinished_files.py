"""Other processes: some write a file and are killed, or stay alive, before it is finished; some work in a folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRITE = """
import sys
from pathlib import Path
from medclf.utils.atomic_write import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    print("written", flush=True)
    sys.stdin.read()
"""


def writing(path: Path) -> "subprocess.Popen[bytes]":
    """Start a process that has written half of a file and waits."""
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def unfinished(path: Path) -> Path:
    """The unfinished file of a target."""
    (found,) = path.parent.glob(f".{path.name}-*")
    return found


def leave_unfinished(path: Path) -> Path:
    """Return the unfinished file that a killed process has left."""
    process = writing(path)
    process.kill()
    process.communicate()
    return unfinished(path)


HOLD = """
import sys
from pathlib import Path
from medclf.utils.run_folder import lock_run
with lock_run(Path(sys.argv[1]), "hydra.run.dir"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let another process work in a run folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.communicate()
