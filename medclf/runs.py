"""The run folder: what lies where in it, and the record of how the run went. Imports no torch."""

import os
import platform
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medclf.errors import ConfigError, DataError
from medclf.files import remove_leftovers
from medclf.plain_data import read_json as read_json
from medclf.plain_data import write_json as write_json

PACKAGES = ("medclf", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "scikit-learn", "numpy")


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
        self.history = folder / "history.csv"
        self.grad_cam = folder / "figures" / "data" / "grad_cam.npz"
        self.record = folder / "run.json"

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
        """The folder as a person types it: below the working folder, its relative path."""
        here = Path.cwd()
        return (self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder).as_posix()

    @contextmanager
    def at_work(self, resumed: bool = False) -> Iterator[dict[str, Any]]:
        """Hold the folder, and record how what stands within ends.

        Yields:
            A dict; what is put into it goes into the record of a finished run.

        Raises:
            ConfigError: when another process has the folder, or the run to be resumed has finished.
        """
        with self._held(resumed):
            self._begin(resumed)
            facts: dict[str, Any] = {}
            try:
                yield facts
            except BaseException as error:
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                said = {} if stopped else {"error": "".join(traceback.format_exception_only(error)).strip()}
                with suppress(DataError, OSError):  # where the folder is gone, or full, the error itself says why
                    self._update(status="interrupted" if stopped else "failed", **said)
                raise
            self._update(status="finished", **facts)

    def note(self, **facts: Any) -> None:
        """Put facts into the record while the run goes on."""
        write_json(self.record, {**read_json(self.record), **facts})

    @contextmanager
    def _held(self, resumed: bool) -> Iterator[None]:
        """Keep other processes out; the system lets go of the folder when this one dies."""
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            key = "resume" if resumed else "hydra.run.dir"
            raise ConfigError(
                f"{key}={self.shown}: another process is at work there; wait for it, or end it"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _begin(self, resumed: bool) -> None:
        if resumed:
            refuse_finished(self)
            for place in (self.folder, self.checkpoints):
                remove_leftovers(place)
            if self.record.is_file():
                self._update(status="running")
                return
        if self.record.exists():
            raise ConfigError(f"hydra.run.dir={self.shown}: another run has this folder; name a new one")
        write_json(self.record, _beginning())

    def _update(self, **facts: Any) -> None:
        record = read_json(self.record)
        record.pop("error", None)
        write_json(self.record, {**record, **facts, "ended": None if facts["status"] == "running" else now()})


def is_used(folder: Path) -> bool:
    """Whether something stands where a new folder should be: a file, or a folder that is not empty."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def refuse_finished(run: Run) -> None:
    """Refuse to go on with a run that has ended.

    Raises:
        ConfigError: saying so.
    """
    if run.status == "finished":
        raise ConfigError(f"resume={run.shown}: this run has finished; start a new one for other settings")


def unfinished(root: Path) -> list[Run]:
    """The runs below a folder that have begun and not finished, those first that were last at work."""
    runs = [Run(record.parent) for record in root.rglob("run.json")]
    waiting = [run for run in runs if run.status not in (None, "finished")]
    return sorted(waiting, key=lambda run: max(path.stat().st_mtime for path in _traces(run)), reverse=True)


def _traces(run: Run) -> list[Path]:
    return [path for path in (run.record, run.last_checkpoint) if path.is_file()]


def is_main_process() -> bool:
    """Whether this process writes files: the first of those that Lightning, torchrun or a cluster started."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each package."""
    return {name: version(name) for name in packages}


def _beginning() -> dict[str, Any]:
    return {
        "status": "running",
        "started": now(),
        "ended": None,
        "command": sys.argv[1:],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": versions(PACKAGES),
    }


def processor() -> str:
    """What the processor calls itself, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")  # platform.processor() is empty on Linux
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def now() -> str:
    """The time of the world's clock, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
