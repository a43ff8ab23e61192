"""The run folder: what lies where in it, and the record of how the run went. Imports no torch."""

import os
import platform
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medclf.utils.atomic_write import remove_leftovers
from medclf.utils.errors import ConfigError, DataError, MedclfError
from medclf.utils.json_yaml import read_json, write_json
from medclf.utils.quoting import format_command, format_override
from medclf.utils.safe_terminal import escape_control
from medclf.utils.write_errors import find_write_error, format_unwritable, suggest_remedy, write_failure

LOCK = ".lock"
RESERVED_BYTES = 2**16
"""Kept free for the record of a run, so that it can tell how the run ended although the disk is full."""
PACKAGES = ("medclf", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "scikit-learn", "numpy")


@dataclass
class RunFacts:
    """Facts that the record of a finished run holds; each is set where it becomes known, None until then.

    ``split_hash`` and ``content_hash`` identify the split and the files of its images, ``findings`` are sentences about
    these images, ``device`` is what computed, ``files_sha256`` has the SHA-256 of files of the run by name.
    """

    split_hash: str | None = None
    content_hash: str | None = None
    findings: list[str] | None = None
    device: str | None = None
    training_seconds: float | None = None
    files_sha256: dict[str, str] | None = None

    def known(self) -> dict[str, Any]:
        """Return the facts that are known, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Run:
    """A run folder and the files that a run leaves in it.

    Args:
        folder: made by Hydra; everything below is at a fixed place in it, so a moved run still works.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.best_model = self.checkpoints / "best.pth"
        self.best_facts = self.checkpoints / "best.json"
        self.novelty = self.checkpoints / "novelty.npz"
        self.best_checkpoint = self.checkpoints / "best.ckpt"
        self.last_checkpoint = self.checkpoints / "last.ckpt"
        self.previous_checkpoint = self.checkpoints / "previous.ckpt"
        self.figures = folder / "figures"
        self.config = folder / "config.yaml"
        self.splits = folder / "splits.csv"
        self.fingerprints = folder / "fingerprints.csv"
        self.predictions = folder / "predictions.csv"
        self.metrics = folder / "metrics.json"
        self.metrics_table = folder / "metrics.csv"
        self.history = folder / "history.csv"
        self.grad_cam = folder / "figures" / "data" / "grad_cam.npz"
        self.record = folder / "run.json"
        self._reserve = folder / ".reserve"
        self._content: dict[str, Any] | None = None

    @property
    def status(self) -> str | None:
        """``running`` (or killed), ``interrupted``, ``failed``, ``finished``; None where no run has been.

        Raises:
            DataError: when the record is damaged or holds no status.
        """
        try:
            return str(read_json(self.record)["status"]) if self.record.is_file() else None
        except (KeyError, TypeError) as error:
            raise DataError(f"{self.record}: is no record of a run: it holds no status") from error

    @property
    def shown(self) -> str:
        """Return the folder as a person types it: relative if below the working folder."""
        here = Path.cwd()
        return (self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder).as_posix()

    def resume_command(self, trust_code: bool = False) -> str:
        """Return the command that resumes the run, to be pasted into a shell.

        Args:
            trust_code: whether the run needs ``trust_code=true``.
        """
        trust = ["trust_code=true"] if trust_code else []
        return format_command("train", format_override("resume", self.shown), *trust)

    @contextmanager
    def at_work(
        self, resumed: bool = False, again: str | None = None, command: Sequence[str] | None = None
    ) -> Iterator[RunFacts]:
        """Lock the folder, and record how the work in this block ends.

        Args:
            resumed: whether the folder holds a run that is resumed.
            again: what to type once a disk that was full has room; None: the command that resumes the run.
            command: overrides that repeat the run, for its record; None: those of ``sys.argv``.

        Yields:
            Facts that go into the record of a finished run, once they are set.

        Raises:
            ConfigError: if another process works in the folder, or the run to be resumed has finished.
            DataError: if the folder cannot be written or the disk is full.
        """
        with lock_run(self.folder, "resume" if resumed else "output"):
            facts = RunFacts()
            begun = False
            try:
                self._begin(resumed, sys.argv[1:] if command is None else command)
                begun = True
                self._reserve.write_bytes(os.urandom(RESERVED_BYTES))  # no file system compresses that
                yield facts
                self._update(status="finished", **facts.known())
            except BaseException as error:
                explained = self._explained(error, again)
                if begun:
                    self._record_end(explained)
                if explained is error:
                    raise
                raise explained from error
            finally:
                self._free_reserve()
                self._content = None

    def _explained(self, error: BaseException, again: str | None) -> BaseException:
        """Return the error itself, or the message about the failed write that it comes from."""
        cause = None if isinstance(error, MedclfError) else find_write_error(error, self.folder)
        if cause is None:
            return error
        named = getattr(cause, "filename", None)
        elsewhere = isinstance(named, str) and not Path(named).absolute().is_relative_to(self.folder.absolute())
        return DataError(
            f"{named if elsewhere else self.shown}: cannot be written: {write_failure(cause)}; "
            f"{suggest_remedy(cause)}, then: {again or self.resume_command()}"
        )

    def _record_end(self, error: BaseException) -> None:
        self._free_reserve()
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        said = {} if stopped else {"error": "".join(traceback.format_exception_only(error)).strip()}
        with suppress(DataError, OSError):  # where the folder is gone, the error itself says why
            self._update(status="interrupted" if stopped else "failed", **said)

    def _free_reserve(self) -> None:
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def note(self, **facts: Any) -> None:
        """Put facts into the record while the run goes on."""
        self._write({**self.read_record(), **facts})

    def read_record(self) -> dict[str, Any]:
        """Return what ``run.json`` holds; it is not read from disk while this object has the folder locked.

        Raises:
            DataError: for a file that is missing or damaged.
        """
        return dict(self._content) if self._content is not None else read_json(self.record)

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.record, content)
        self._content = content

    def _begin(self, resumed: bool, command: Sequence[str]) -> None:
        if resumed:
            validate_not_finished(self)
            for place in (self.folder, self.checkpoints, self.figures, self.figures / "data"):
                remove_leftovers(place)
        if resumed and self.record.is_file():
            self._update(status="running")
        elif self.record.exists():
            raise ConfigError(f"output={self.shown}: another run has this folder; name a new one")
        else:
            self._write(_beginning(command))

    def _update(self, **facts: Any) -> None:
        record = self.read_record()
        record.pop("error", None)
        self._write({**record, **facts, "ended": None if facts["status"] == "running" else utc_now()})


@contextmanager
def lock_run(folder: Path, key: str) -> Iterator[None]:
    """Make a run folder and keep other processes out of it; the system unlocks it when this process ends.

    This process may claim a folder again that it holds.

    Args:
        folder: of the run.
        key: by which the folder was named, for the message.

    Raises:
        ConfigError: if another process works in it, or it cannot be written.
    """
    shown = Run(folder).shown
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_of(folder.resolve())
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"{key}={shown}: another process is at work there; wait for it, or end it") from error
    except OSError as error:
        raise ConfigError(format_unwritable(key, Run(folder).shown, error)) from error
    try:
        yield
    finally:
        lock.release()


@cache
def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder / LOCK)


def is_used(folder: Path) -> bool:
    """Return whether a path is a file or a folder that is not empty, where no new folder can be made.

    The lock of a process that was killed before it wrote anything does not count.
    """
    return folder.exists() and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir()))


def validate_not_finished(run: Run) -> None:
    """Refuse to go on with a run that has ended.

    Raises:
        ConfigError: saying so.
    """
    if run.status == "finished":
        raise ConfigError(f"resume={run.shown}: this run has finished; start a new one for other settings")


def find_unfinished_runs(root: Path) -> list[Run]:
    """Return the unfinished runs below a folder, the one that was last at work first.

    A run with a damaged record is left out with a warning.
    """
    waiting = []
    for run in (Run(record.parent) for record in root.rglob("run.json")):
        try:
            if run.status not in (None, "finished"):
                waiting.append(run)
        except DataError as error:
            sys.stderr.write(escape_control(f"warning: skipped: {error}\n"))
    return sorted(waiting, key=lambda run: max(path.stat().st_mtime for path in _traces(run)), reverse=True)


def _traces(run: Run) -> list[Path]:
    return [path for path in (run.record, run.last_checkpoint) if path.is_file()]


def is_main_process() -> bool:
    """Return whether this process writes files: the first that Lightning, torchrun or a cluster started."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: version(name) for name in packages}


def _beginning(command: Sequence[str]) -> dict[str, Any]:
    return {
        "status": "running",
        "started": utc_now(),
        "ended": None,
        "command": list(command),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "versions": package_versions(PACKAGES),
    }


def processor_name() -> str:
    """Return the name of the processor, as far as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")  # platform.processor() is empty on Linux
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def utc_now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
