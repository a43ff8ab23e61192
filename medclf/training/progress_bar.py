"""The progress bar of a training in Python: one bar for all epochs, in a notebook or a terminal."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, ModelSummary, ProgressBar
from tqdm.auto import tqdm

from medclf.config.schema import TrainConfig


class EpochProgress(ProgressBar):
    """Shows the batches of all epochs in one bar, with the monitored metric of the last epoch.

    Args:
        monitor: name of the metric.
        shown: whether there is a bar; False: nothing is shown, and Lightning adds no bar of its own.
    """

    def __init__(self, monitor: str, shown: bool = True) -> None:
        super().__init__()
        self.monitor = monitor
        self._shown = self._before = shown
        self._bar: tqdm[Any] | None = None

    def disable(self) -> None:
        """Show nothing, as Lightning's tuner asks."""
        self._shown, self._before = False, self._shown

    def enable(self) -> None:
        """Show the bar again."""
        self._shown = self._before

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        tqdm.write(" ".join(map(str, args)))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the bar; that of a resumed run begins where the run stopped."""
        if not self._shown:
            return
        epochs, batches = trainer.max_epochs, trainer.num_training_batches
        total = None if epochs in (None, -1) else int(epochs * batches)
        self._bar = tqdm(total=total, initial=int(trainer.current_epoch * batches), desc="Training", unit="batch")

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the epoch and the monitored metric."""
        value = trainer.callback_metrics.get(self.monitor)
        if self._bar is not None and value is not None:
            self._bar.set_postfix({"epoch": trainer.current_epoch + 1, self.monitor: f"{float(value):.4f}"})

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar of a training that breaks off."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def build_progress_callbacks(config: TrainConfig, shown: bool) -> list[Callback]:
    """Return callbacks that take the place of Lightning's own bar, and of its model summary, which is logged.

    Args:
        config: of the run; what it turns off stays off, and a bar of its own is kept.
        shown: whether there is a bar.
    """
    own_bar = any(str(node["_target_"]).endswith("ProgressBar") for node in config.callbacks.values())
    wanted = config.trainer.enable_progress_bar is not False and not own_bar
    bar: list[Callback] = [EpochProgress(config.monitor, shown)] if wanted else []
    return bar if config.trainer.enable_model_summary is False else [*bar, ModelSummary()]
