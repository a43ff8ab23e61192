from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from medclf.errors import DataError
from medclf.files import written_whole
from medclf.runs import Run

UNREADABLE = (OSError, EOFError, RuntimeError, UnpicklingError, KeyError)
"""What torch.load raises for a damaged file."""


def whole_checkpoint(run: Run, which: Literal["last", "previous"]) -> Path:
    """The checkpoint that a run goes on from.

    Raises:
        DataError: when it is damaged, with what can be done.
    """
    path = run.last_checkpoint if which == "last" else run.previous_checkpoint
    try:
        _epoch(path)
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: is damaged or not there: {reason}{_way_out(run, which)}") from error
    return path


def _way_out(run: Run, which: str) -> str:
    try:
        epoch = _epoch(run.previous_checkpoint) if which == "last" else None
    except UNREADABLE:
        epoch = None
    if epoch is None:
        return "; there is none before it, so the run must be started anew"
    return f"; the one before it, of epoch {epoch}, is whole: resume={run.shown} resume_from=previous"


def _epoch(path: Path) -> int:
    return int(torch.load(path, map_location="cpu", weights_only=True)["epoch"])


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there in one step: a kill leaves the one before.

    Lightning's own goes by way of the system's temporary folder, from which a move to another disk is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            DataError: when it cannot be written; what was saved before stays.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with written_whole(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's own words for a full disk
            raise DataError(
                f"{path}: cannot be written: {error}; what was saved before is kept. Make room, then go on with "
                "resume=RUN"
            ) from error
