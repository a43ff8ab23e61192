import torch
from torch import Tensor
from torchmetrics import CatMetric, MeanMetric


class EpochOutputs(torch.nn.Module):
    """Logits, targets and mean loss of an epoch, gathered from all processes: metrics are of the whole split.

    Args:
        num_classes: columns of the logits.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # not-a-number must be seen, not left out
        self._logits = CatMetric(nan_strategy="disable")
        self._target = CatMetric()
        self._loss = MeanMetric(nan_strategy="disable")

    def update(self, logits: Tensor, target: Tensor, loss: Tensor) -> None:
        """Add a batch: logits (n, classes), classes (n,), and the mean loss."""
        self._logits.update(logits.detach())
        self._target.update(target)
        self._loss.update(loss.detach(), len(target))

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (images, classes), classes (images,) and the mean loss of what was added; it begins anew after."""
        logits, target, loss = self._logits.compute(), self._target.compute(), self._loss.compute()
        for metric in (self._logits, self._target, self._loss):
            metric.reset()
        return logits.reshape(-1, self.num_classes), target.long(), loss


def probabilities_of(logits: Tensor) -> Tensor:
    """Class probabilities (n, classes) on the CPU in float64: softmax in less makes ties of confident predictions."""
    return logits.cpu().double().softmax(1)
