import logging
import os
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from medclf.data.datamodule import ImageDataModule
from medclf.plots.image_grids import image_page
from medclf.training.loggers import log_figure, supports_images
from medclf.training.module import ClassifierModule
from medclf.utils.errors import MedclfError

log = logging.getLogger(__name__)
MUCH = 0.2
"""Share of the time from which on waiting is worth a word on what to do."""


class LogTrainingSamples(Callback):
    """Log a page of training images as the network sees them, resized and augmented, if a logger supports images.

    Args:
        count: images on the page.
    """

    def __init__(self, count: int = 16) -> None:
        self.count = count

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw the page; the random state is left as it was."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not (any(map(supports_images, trainer.loggers)) and isinstance(data, ImageDataModule)):
            return
        assert isinstance(pl_module, ClassifierModule)
        dataset = data.datasets["train"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rows = torch.randperm(len(dataset))[: self.count].tolist()
            images = torch.stack([dataset.image(row) for row in rows]).numpy()
        titles = [pl_module.classes[int(dataset.target[row])] for row in rows]
        log_figure(trainer.loggers, "samples/train", image_page(images, titles), trainer.global_step)


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


class LogPace(Callback):
    """Logs each epoch's ``time/images_per_second``, and ``time/waiting_for_data`` as a share from 0 to 1.

    Only training batches count. Waiting is what passes between the end of a step and the beginning of the next one.
    """

    def __init__(self) -> None:
        self._whole = [0.0, 0.0, 0.0]
        self._images = 0
        self._waited = self._worked = self._since = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin; the first epoch after a resume may not tell its start."""
        self._begin()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin anew."""
        self._begin()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Record when a batch arrives."""
        now = time.perf_counter()
        self._waited += now - self._since
        self._since = now

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record when its step ends."""
        now = time.perf_counter()
        self._worked += now - self._since
        self._since = now
        self._images += len(batch.target)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch."""
        epoch = [float(self._images * trainer.world_size), self._waited, self._worked]
        self._whole = [before + now for before, now in zip(self._whole, epoch, strict=True)]
        pace, share = _pace(*epoch)
        pl_module.log_dict({"time/images_per_second": pace, "time/waiting_for_data": share}, rank_zero_only=True)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say how it went as a whole."""
        if not self._whole[0] or not trainer.is_global_zero:
            return
        pace, share = _pace(*self._whole)
        log.info("Training batches: %.0f images/s, %.0f %% of the time waiting for data.", pace, 100 * share)
        loader: Any = trainer.train_dataloader
        if share > MUCH and (os.cpu_count() or 1) > loader.num_workers + 2:
            log.info("More processes that augment may be faster: dataset.num_workers=%d", loader.num_workers + 2)

    def _begin(self) -> None:
        self._images, self._waited, self._worked = 0, 0.0, 0.0
        self._since = time.perf_counter()


def _pace(images: float, waited: float, worked: float) -> tuple[float, float]:
    return images / (waited + worked), waited / (waited + worked)
