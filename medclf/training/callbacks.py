import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from medclf.data.datamodule import ImageDataModule
from medclf.plots.image_page import image_page
from medclf.training.checkpointing import unwritable_checkpoint
from medclf.training.module import ClassifierModule
from medclf.utils.atomic_write import written_whole
from medclf.utils.errors import DataError, MedclfError

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""What Lightning's ModelCheckpoint knows of files."""


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, for runs that go on after a stop.

    Files are kept by name, without their folder, so that a moved run goes on as well. Where ``best.ckpt`` is of a later
    epoch than the checkpoint that a run goes on from, its own score stays the one to beat.
    """

    def state_dict(self) -> dict[str, Any]:
        """What is the best, by its file's name."""
        state = super().state_dict()
        best = {Path(path).name: score for path, score in state["best_k_models"].items()}
        names = {key: Path(state[key]).name for key in PATHS if state[key]}
        return {**state, **names, "best_k_models": best, "dirpath": ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The same, in the folder that the run lies in now."""
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
        """A run that goes on has one already."""
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
            with last.open("rb") as content, written_whole(previous) as file:
                shutil.copyfileobj(content, file)
        else:
            aside.replace(previous)
    except OSError as error:
        raise DataError(unwritable_checkpoint(previous, error)) from error


class LogTrainingSamples(Callback):
    """Shows in TensorBoard a page of training images as the network sees them: resized and augmented.

    Args:
        count: images on the page.
    """

    def __init__(self, count: int = 16) -> None:
        self.count = count

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw the page; the random state is left as it was."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not (isinstance(trainer.logger, TensorBoardLogger) and isinstance(data, ImageDataModule)):
            return
        assert isinstance(pl_module, ClassifierModule)
        dataset = data.datasets["train"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rows = torch.randperm(len(dataset))[: self.count].tolist()
            images = torch.stack([dataset.image(row) for row in rows]).numpy()
        titles = [pl_module.classes[int(dataset.target[row])] for row in rows]
        trainer.logger.experiment.add_figure("samples/train", image_page(images, titles), trainer.global_step)


class StopWhenDiverged(Callback):
    """Ends training at the first loss that is no finite number, before a checkpoint of it is written."""

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss of a step."""
        loss = outputs["loss"]
        if trainer.strategy.reduce_boolean_decision(not torch.isfinite(loss), all=False):  # all stop where one does
            _diverged("training", loss, trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look at the loss of the validation split."""
        loss = trainer.callback_metrics["val/loss"]
        if not torch.isfinite(loss):
            _diverged("validation", loss, trainer)


def _diverged(what: str, loss: torch.Tensor, trainer: lightning.Trainer) -> None:
    raise MedclfError(
        f"the {what} loss of epoch {trainer.current_epoch} is {float(loss)}: training has diverged and stops; a "
        "smaller optimizer.lr, or trainer.gradient_clip_val=1, may mend it. Checkpoints of earlier epochs are kept"
    )


class ExponentialMovingAverage(WeightAveraging):
    """Validates and saves an exponential moving average of the weights, BatchNorm's statistics included.

    Unlike Lightning's callback for it, what does not change, a frozen backbone, keeps every bit.

    Args:
        decay: what the average keeps of itself at each step, in [0, 1): about the last 1 / (1 - decay) steps count.
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay}: is at least 0 and below 1")

        def update(averages: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], _: object) -> None:
            for average, weight in zip(averages, weights, strict=True):
                if average.is_floating_point():
                    average.lerp_(weight, 1 - decay)
                else:  # BatchNorm's count of batches
                    average.copy_(weight)

        super().__init__(multi_avg_fn=update)


class StochasticWeightAveraging(WeightAveraging):
    """From a share of the epochs on, validates and saves the mean of their weights (Izmailov et al., UAI 2018).

    Unlike Lightning's callback of this name it is validated every epoch, so that the best checkpoint may be an average.
    Until then the mean is the weights themselves. BatchNorm's statistics are averaged with the weights.

    Args:
        start: share of ``trainer.max_epochs`` after which averaging begins, in [0, 1).
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        if not 0 <= start < 1:
            raise ValueError(f"start={start}: is a share of the epochs, at least 0 and below 1")
        self.start = start

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the weights to the mean after an epoch's last step, before its validation."""
        assert self._average_model is not None
        if not trainer.is_last_batch:
            return
        if trainer.current_epoch <= self.start * (trainer.max_epochs or 0):
            self._average_model.n_averaged.zero_()
        self._average_model.update_parameters(pl_module)
