"""Callbacks that average the weights during training."""

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging


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
