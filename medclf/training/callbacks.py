import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from medclf.data.datamodule import ImageDataModule
from medclf.data.page import image_page
from medclf.training.module import ClassifierModule


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt`` from the end of the latest epoch, and from the very start, so that there always is one."""

    def __init__(self, dirpath: str) -> None:
        super().__init__(dirpath=dirpath, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save before the first epoch."""
        super().on_train_start(trainer, pl_module)
        if trainer.current_epoch == 0 and not getattr(trainer, "fast_dev_run", False):
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))


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
            batches = [dataset[row] for row in rows]
        images = torch.stack([batch.images for batch in batches]).numpy()
        titles = [pl_module.classes[int(batch.target)] for batch in batches]
        trainer.logger.experiment.add_figure("samples/train", image_page(images, titles), trainer.global_step)
