"""How fast training goes, and how much of its time it waits for images."""

import logging
import os
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

log = logging.getLogger(__name__)
MUCH = 0.2
"""Share of the time from which on waiting is worth a word on what to do."""


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
        """A batch has come."""
        now = time.perf_counter()
        self._waited += now - self._since
        self._since = now

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Its step is done."""
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
