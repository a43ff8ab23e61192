from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch.nn import Module

from medclf.utils.atomic_write import written_whole
from medclf.utils.errors import ConfigError, DataError, listed
from medclf.utils.run_dir import Run
from medclf.utils.write_errors import reason, remedy, write_error

UNREADABLE = (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError, ValueError, AttributeError)
"""What torch.load raises for a damaged file."""


def whole_checkpoint(
    run: Run, which: Literal["last", "previous"], network: Module, max_epochs: int | None = None
) -> Path:
    """Return the checkpoint that a run is resumed from.

    Args:
        run: to go on with.
        which: of its checkpoints.
        network: with the weights that the checkpoint must have.
        max_epochs: where training ends; None or -1: it does not end by epochs.

    Raises:
        DataError: when it is damaged, with what can be done, or of another network.
        ConfigError: when more epochs are trained already.
    """
    path = run.last_checkpoint if which == "last" else run.previous_checkpoint
    try:
        content = _load(path)
        saved = {name: value.shape for name, value in content["state_dict"].items()}
        epoch = int(content["epoch"])
    except UNREADABLE as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{path}: is damaged or not there: {first}{_way_out(run, which)}") from error
    _refuse_trained_further(run, epoch, max_epochs)
    own = {name: value.shape for name, value in network.state_dict().items()}
    others = [name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name)]
    if others:
        raise DataError(
            f"{path}: is of another network than the run's config.yaml tells: {len(others)} of its weights differ "
            f"({listed(sorted(others), 3)}); put the run's own back, or start the run anew"
        )
    return path


def _refuse_trained_further(run: Run, epoch: int, max_epochs: int | None) -> None:
    if max_epochs is not None and 0 <= max_epochs < epoch + 1:
        raise ConfigError(
            f"trainer.max_epochs={max_epochs}: {run.shown} has trained {epoch + 1} epochs already; "
            f"set trainer.max_epochs={epoch + 1} or more, or leave it out"
        )


def _way_out(run: Run, which: str) -> str:
    try:
        epoch = _load(run.previous_checkpoint)["epoch"] if which == "last" else None
    except UNREADABLE:
        epoch = None
    if epoch is None:
        return "; there is none before it, so the run must be started anew"
    return f"; the one before it, of epoch {epoch}, is whole: resume={run.shown} resume_from=previous"


def _load(path: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved


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
            raise DataError(unwritable_checkpoint(Path(path), error)) from error


def unwritable_checkpoint(path: Path, error: Exception) -> str:
    """Return the message about a checkpoint of a run that cannot be written, with the command that resumes the run."""
    run = Run(path.parent.parent)
    why = reason(write_error(error, run.folder) or error)
    then = f"{remedy(why)}, then: {run.resume_command()}"
    return f"{run.shown}: cannot be written: {why}; earlier checkpoints are kept; {then}"
