import math
import shutil
import signal
import time
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.nn import Module

from medclf.utils.atomic_write import atomic_file
from medclf.utils.errors import ConfigError, DataError, format_list
from medclf.utils.random_state import State, get_random_state, set_random_state
from medclf.utils.run_folder import Run
from medclf.utils.write_errors import find_write_error, suggest_remedy, write_failure

UNREADABLE = (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError, ValueError, AttributeError)
"""What torch.load raises for a damaged file."""


def find_whole_checkpoint(
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
            f"({format_list(sorted(others), 3)}); put the run's own back, or start the run anew"
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


class AtomicCheckpointIO(TorchCheckpointIO):
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
            with atomic_file(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's own words for a full disk
            raise DataError(format_unwritable_checkpoint(Path(path), error)) from error


def format_unwritable_checkpoint(path: Path, error: Exception) -> str:
    """Return the message about a checkpoint of a run that cannot be written, with the command that resumes the run."""
    run = Run(path.parent.parent)
    cause = find_write_error(error, run.folder) or error
    then = f"{suggest_remedy(cause)}, then: {run.resume_command()}"
    return f"{run.shown}: cannot be written: {write_failure(cause)}; earlier checkpoints are kept; {then}"


class RandomStateCheckpoint(Callback):
    """Keeps the state of all random numbers in the checkpoints, so that a resumed run draws as it would have."""

    def state_dict(self) -> State:
        """Return the current random state."""
        return get_random_state()

    def load_state_dict(self, state_dict: State) -> None:
        """Set it at once: Lightning may ask for the first epoch's images before any later hook."""
        set_random_state(state_dict)


class TerminateTogether(Callback):
    """Ends several processes on SIGTERM, by which a cluster tells that it ends a job.

    Lightning's own handler talks to the other processes from wherever it was called, and waits forever where these were
    talking already. Here the first process ends, and with it the others, which do not listen.
    """

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the place of Lightning's handler."""
        self._listen(trainer)

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Likewise."""
        self._listen(trainer)

    def _listen(self, trainer: lightning.Trainer) -> None:
        def end(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            launcher = trainer.strategy.launcher
            if isinstance(launcher, _SubprocessScriptLauncher):
                launcher.kill(signal.SIGKILL)
            raise SIGTERMException

        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, end if trainer.is_global_zero else signal.SIG_IGN)


PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""What Lightning's ModelCheckpoint knows of files."""


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, for runs that go on after a stop.

    Files are kept by name, without their folder, so that a moved run goes on as well. Where ``best.ckpt`` is of a later
    epoch than the checkpoint that a run goes on from, its own score stays the one to beat.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, with the checkpoint's file name."""
        state = super().state_dict()
        best = {Path(path).name: score for path, score in state["best_k_models"].items()}
        names = {key: Path(state[key]).name for key in PATHS if state[key]}
        return {**state, **names, "best_k_models": best, "dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it for the folder where the run is now."""
        folder = Path(str(self.dirpath))
        state = self._newer(folder) or state_dict
        best = {str(folder / Path(name).name): score for name, score in state["best_k_models"].items()}
        paths = {key: str(folder / Path(state[key]).name) for key in PATHS if state[key]}
        super().load_state_dict({**state, **paths, "best_k_models": best, "dirpath": self.dirpath})

    def _newer(self, folder: Path) -> dict[str, Any] | None:
        """What the file of the best says of itself: it is as new as what is loaded, or newer."""
        best = folder / f"{self.filename}.ckpt"
        if self.monitor is None or not best.is_file():
            return None
        saved = torch.load(best, map_location="cpu", weights_only=True, mmap=True)
        state: dict[str, Any] | None = saved["callbacks"].get(self.state_key)
        return state


class LastCheckpoint(BestCheckpoint):
    """Keeps ``last.ckpt`` from the beginning of an epoch, or the end of the last, and beside it the one before.

    At the beginning of an epoch all of the one before is done, the schedule of the learning rate too. The first that a
    process trains is left out: Lightning has drawn the order of its images already. SIGTERM, by which a cluster tells
    that it ends a job, is answered by a checkpoint between two batches, where one process trains; during validation,
    and among several processes, the one of the epoch's beginning stays.

    Args:
        dirpath: where it is kept.
        seconds: epochs that begin sooner than this after it was written leave it as it is, so that writing costs little
            beside short epochs, and what a killed run loses is about as long.
    """

    def __init__(self, dirpath: str, seconds: float = 10) -> None:
        super().__init__(dirpath=dirpath, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
        self.seconds = seconds
        self._written = -math.inf
        self._first = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write no checkpoint for a resumed run, which has one."""
        super().on_train_start(trainer, pl_module)
        self._written = time.monotonic() if trainer.ckpt_path else -math.inf
        self._first = True

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count an epoch that has not begun as none: Lightning would go on with it as if its batches were done."""
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        if epochs["current"]["ready"] == epochs["current"]["started"]:
            return
        for count in (epochs["current"], epochs["total"]):
            count["ready"] = count["started"]
        batches |= {"current": dict.fromkeys(batches["current"], 0), "is_last_batch": False}

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save where it is due, in all processes or in none."""
        due = not self._first and time.monotonic() - self._written >= self.seconds
        self._first = False
        if not getattr(trainer, "fast_dev_run", False) and trainer.strategy.reduce_boolean_decision(due, all=False):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the end of training."""
        steps_end = trainer.max_steps not in (None, -1) and trainer.global_step >= trainer.max_steps
        self._first = False
        ends = trainer.should_stop or steps_end or trainer.current_epoch + 1 == trainer.max_epochs
        if ends and not getattr(trainer, "fast_dev_run", False):
            self._save(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End the resuming: of an epoch that it takes for resumed Lightning leaves out the plateau schedule."""
        if trainer.fit_loop.restarting:
            trainer.fit_loop.restarting = False

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Save before SIGTERM ends the run, where it can be gone on with from here."""
        stepped = (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if isinstance(exception, SIGTERMException) and trainer.training and trainer.world_size == 1 and stepped:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        if trainer.is_global_zero:
            _keep_previous(Path(str(self.dirpath)) / "last.ckpt")
        self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))
        self._written = time.monotonic()


def _keep_previous(last: Path) -> None:
    """Give the file a second name, by which it stays when another takes its own."""
    if not last.is_file():
        return
    previous, aside = last.with_name("previous.ckpt"), last.with_name(".previous")
    try:
        aside.unlink(missing_ok=True)
        try:
            aside.hardlink_to(last)
        except OSError:  # a file system without links
            with last.open("rb") as content, atomic_file(previous) as file:
                shutil.copyfileobj(content, file)
        else:
            aside.replace(previous)
    except OSError as error:
        raise DataError(format_unwritable_checkpoint(previous, error)) from error
