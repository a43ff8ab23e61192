from typing import Any

import lightning
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import CatMetric, MeanMetric

from medclf.data.datamodule import Batch
from medclf.errors import ConfigError, MedclfError
from medclf.evaluation.metrics import Metrics, classification_metrics
from medclf.models.network import build_network


class ClassifierModule(lightning.LightningModule):
    """Trains a network with cross-entropy and logs loss and metrics of train and validation each epoch.

    Every argument is plain data, so a checkpoint rebuilds the module by itself and loads with ``weights_only=True``.

    Args:
        model: the config of group ``model``.
        optimizer: the config of group ``optimizer``.
        classes: names in the order of the logits.
        positive: the class that sensitivity is about, for two classes; None: the last one.
        mean: of each channel, as a share of 255: one value for grey images, three for colour.
        sd: the standard deviation of each channel, as a share of 255.
        image_size: side of the images in pixels.
    """

    def __init__(
        self,
        model: dict[str, Any],
        optimizer: dict[str, Any],
        classes: list[str],
        positive: str | None,
        mean: list[float],
        sd: list[float],
        image_size: int,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.optimizer_config = optimizer
        self.classes = classes
        self.positive = positive
        self.network = build_network(model, mean, sd, image_size, len(classes))
        self.train_outputs = _EpochOutputs()
        self.val_outputs = _EpochOutputs()

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (n, channels, height, width) to logits (n, classes)."""
        return torch.as_tensor(self.network(images))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of a batch."""
        return self._step(batch, self.train_outputs)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects a batch's outputs."""
        self._step(batch, self.val_outputs)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Rows in the split (n,) and class probabilities (n, classes) in float64, both on the CPU."""
        return batch.row.cpu(), _probabilities(self(batch.images))

    def on_train_epoch_end(self) -> None:
        """Logs what the epoch's training batches gave."""
        self._log_epoch("train", self.train_outputs)

    def on_validation_epoch_end(self) -> None:
        """Logs what the whole validation split gave."""
        self._log_epoch("val", self.val_outputs)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of the config over all parameters that learn."""
        try:
            learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
            optimizer: torch.optim.Optimizer = instantiate(self.optimizer_config, params=learning)
        except (HydraException, ValueError) as error:
            raise ConfigError(f"optimizer: cannot be built: {error}") from error
        return optimizer

    def _step(self, batch: Batch, outputs: "_EpochOutputs") -> Tensor:
        logits = self(batch.images)
        loss = cross_entropy(logits, batch.target)
        outputs.update(logits.detach(), batch.target, loss.detach())
        return loss

    def _log_epoch(self, stage: str, outputs: "_EpochOutputs") -> None:
        loss = outputs.loss.compute()
        if not torch.isfinite(loss):
            raise MedclfError(
                f"the {stage} loss of epoch {self.current_epoch} is {float(loss)}: training has diverged and stops; "
                "a smaller optimizer.lr, or trainer.gradient_clip_val=1, may mend it"
            )
        metrics = outputs.compute(self.classes, self.positive)
        outputs.reset()
        shown = stage == "val"
        self.log(f"{stage}/loss", loss, prog_bar=True)
        for name, value in metrics.values.items():
            self.log(f"{stage}/{name}", value, prog_bar=shown and name == "auroc_macro")


class _EpochOutputs(torch.nn.Module):
    """Logits, targets and mean loss of an epoch, gathered from all processes; metrics are of the whole split."""

    def __init__(self) -> None:
        super().__init__()
        # not-a-number must be seen, not left out
        self.logits = CatMetric(nan_strategy="disable")
        self.target = CatMetric()
        self.loss = MeanMetric(nan_strategy="disable")

    def update(self, logits: Tensor, target: Tensor, loss: Tensor) -> None:
        self.logits.update(logits)
        self.target.update(target)
        self.loss.update(loss, len(target))

    def compute(self, classes: list[str], positive: str | None) -> Metrics:
        logits = self.logits.compute().reshape(-1, len(classes))
        return classification_metrics(_probabilities(logits), self.target.compute().cpu().long(), classes, positive)

    def reset(self) -> None:
        for metric in (self.logits, self.target, self.loss):
            metric.reset()


def _probabilities(logits: Tensor) -> Tensor:
    # float64, which not every device has: softmax in less makes ties of confident predictions
    return logits.cpu().double().softmax(1)
