import logging
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor

from medclf.data.augmentation import build_batch_mixing
from medclf.data.datamodule import Batch
from medclf.inference.ood import OODDetector
from medclf.models.network import build_network
from medclf.training.epoch_metrics import EpochHistory, EpochOutputs, build_epoch_metrics, logits_to_probabilities
from medclf.training.losses import CrossEntropy
from medclf.training.optimizers import build_optimizer
from medclf.training.schedules import build_schedule

log = logging.getLogger(__name__)


class PredictedRows(NamedTuple):
    """Predictions of a batch: rows in the split (n,), class probabilities (n, classes) in float64, both on the CPU.

    ``distance`` (n,) is the out-of-distribution score; None where none was asked for.
    """

    row: Tensor
    probabilities: Tensor
    distance: NDArray[np.float64] | None


class ClassifierModule(lightning.LightningModule):
    """Trains a network and logs loss and metrics of train and validation each epoch.

    Every argument is plain data, so a checkpoint rebuilds the module by itself and loads with ``weights_only=True``.
    Where batches are mixed, the training metrics compare mixed images with the classes they had before.

    Args:
        model: the config of group ``model``.
        loss: ``weights`` of the classes, ``label_smoothing`` and ``gamma``, as ``CrossEntropy`` takes them.
        optimizer: the config of group ``optimizer``.
        scheduler: the config of group ``scheduler``.
        mixing: alphas of ``mixup`` and ``cutmix``; 0 for none.
        monitor: the validation metric that a plateau is found by.
        classes: names in the order of the logits.
        positive: the class that sensitivity is about, for two classes; None: the last one.
        mean: of each channel, as a share of 255: one value for grey images, three for colour.
        sd: the standard deviation of each channel, as a share of 255.
        image_size: side of the images in pixels.
        trust_code: whether network and optimizer may be of code that is not medclf's; not kept in checkpoints.
    """

    def __init__(
        self,
        model: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        mixing: dict[str, float],
        monitor: str,
        classes: list[str],
        positive: str | None,
        mean: list[float],
        sd: list[float],
        image_size: int,
        trust_code: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["trust_code"])
        self.trust_code = trust_code
        self.has_started = False
        self.classes = classes
        self.positive = positive
        self.network = build_network(model, mean, sd, image_size, len(classes), trust_code)
        self.loss = CrossEntropy(**loss)
        self.mix = build_batch_mixing(**mixing, num_classes=len(classes))
        self.train_outputs = EpochOutputs(len(classes))
        self.val_outputs = EpochOutputs(len(classes))
        self.history = EpochHistory()
        self.ood: OODDetector | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, channels, height, width), values 0 to 255, to logits (n, classes)."""
        return torch.as_tensor(self.network(images))

    def on_train_start(self) -> None:
        """Start the epoch: Lightning does not announce one that is resumed in the middle."""
        self.has_started = True
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Lets a frozen backbone learn once its epoch has come, also after a resume."""
        unfreeze_at = self.hparams["model"]["unfreeze_at"]
        if unfreeze_at is not None and self.current_epoch >= unfreeze_at and self.network.frozen:
            self.network.unfreeze()
            log.info("Epoch %d: the backbone learns too.", self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of a batch."""
        images, target = batch.images, batch.target
        if self.mix is not None:
            images, target = self.mix(images.float(), target)
        logits = self(images)
        loss: Tensor = self.loss(logits, target)
        self.train_outputs.update(logits, batch.target, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects a batch's outputs."""
        logits = self(batch.images)
        self.val_outputs.update(logits, batch.target, self.loss(logits, batch.target))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> PredictedRows:
        """Predict a batch; distances are computed where ``ood`` is set."""
        logits, features = self.network.logits_and_features(batch.images)
        distance = None if self.ood is None else self.ood.distance(features.float().cpu().numpy())
        return PredictedRows(batch.row.cpu(), logits_to_probabilities(logits), distance)

    def on_train_epoch_end(self) -> None:
        """Logs what the epoch's training batches gave."""
        logits, target, loss = self.train_outputs.compute()
        self._log_epoch("train", logits, target, loss)

    def on_validation_epoch_end(self) -> None:
        """Logs what the whole validation split gave; with class weights, its loss is no mean of batches."""
        logits, target, _ = self.val_outputs.compute()
        self._log_epoch("val", logits, target, self.loss(logits, target))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of all trainable parameters and the learning-rate schedule."""
        optimizer = build_optimizer(self.hparams["optimizer"], self.hparams["model"], self.network, self.trust_code)
        schedule = build_schedule(
            self.hparams["scheduler"], optimizer, self.trainer.estimated_stepping_batches, self.hparams["monitor"]
        )
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the metrics of the epochs so far in the checkpoint."""
        checkpoint["history"] = self.history.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the metrics of the epochs so far from the checkpoint."""
        self.history.load_state_dict(checkpoint["history"])

    def _log_epoch(self, stage: str, logits: Tensor, target: Tensor, loss: Tensor) -> None:
        self.log(f"{stage}/loss", loss, prog_bar=True)
        self._remember({f"{stage}/loss": float(loss)})
        if not torch.isfinite(loss):
            return  # a diverged network has no metrics; callbacks.divergence ends its training
        metrics = build_epoch_metrics(logits_to_probabilities(logits), target.cpu(), self.classes, self.positive)
        shown = stage == "val"
        for name, value in metrics.items():
            self.log(f"{stage}/{name}", value, prog_bar=shown and name == "auroc_macro")
        self._remember({f"{stage}/{name}": float(value) for name, value in metrics.items()})

    def _remember(self, metrics: dict[str, float]) -> None:
        if not self.trainer.sanity_checking:
            self.history.add(self.current_epoch, metrics)
