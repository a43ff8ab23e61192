import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_held: list[FileLock] = []
"""The GPU of this process, which lets go of it when it ends."""


class OneGPU(Callback):  # type: ignore[misc]  # Hydra has no types
    """Hydra callback of ``launcher=joblib``: with several GPUs, each process of the launcher keeps one to itself.

    Where there are more processes than GPUs, the others share them in turn.
    """

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose, before the first job of a process has touched CUDA; a later choice would change nothing."""
        visible = list_gpus()
        if _held or len(visible) < 2:
            return
        os.environ["CUDA_VISIBLE_DEVICES"] = _free(visible) or visible[config.hydra.job.num % len(visible)]


def list_gpus() -> list[str]:
    """Return the CUDA names of the GPUs that this process may use."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return told.stdout.split() if told.returncode == 0 else []


def _free(names: list[str]) -> str | None:
    for name in names:
        lock = FileLock(Path(tempfile.gettempdir()) / f"medclf-gpu-{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        return name
    return None
