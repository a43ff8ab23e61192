from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from medclf.config.schema import LossConfig


class CrossEntropy(nn.Module):
    """Mean weighted cross-entropy of a batch, with label smoothing and the focal factor (1 - p)^gamma.

    Without these, and for targets that are classes, equal to ``torch.nn.functional.cross_entropy(weight=weights)``. For
    logits (0, z) it is the binary cross-entropy of z.

    Args:
        weights: of the classes.
        label_smoothing: share of the target given to all classes alike (Szegedy et al., CVPR 2016), in [0, 1).
        gamma: of the focal loss (Lin et al., ICCV 2017), at least 0; 0 is cross-entropy.
    """

    weights: Tensor

    def __init__(self, weights: Sequence[float], label_smoothing: float = 0.0, gamma: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.label_smoothing = label_smoothing
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (n, classes), and classes (n,) or the share of each (n, classes), to the mean loss, a scalar."""
        shares = one_hot(target, logits.shape[1]) if target.ndim == 1 else target
        shares = shares.to(logits.dtype)
        smoothed = shares * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[1]
        log_probabilities = logits.log_softmax(1)
        terms = smoothed * self.weights * log_probabilities
        if self.gamma > 0:  # the clamp keeps the derivative finite where p is 1 and gamma below 1
            terms = terms * (1 - log_probabilities.exp()).clamp(min=1e-6) ** self.gamma
        return -terms.sum() / (shares @ self.weights.to(logits.dtype)).sum()


def class_weights(config: LossConfig, labels: Sequence[str], classes: Sequence[str]) -> list[float]:
    """Return the weight of each class.

    ``auto``: images / (classes * images of the class), as scikit-learn's ``balanced``. By name: 1 for those not named.

    Args:
        config: of group ``loss``.
        labels: the class of each training image.
        classes: in the order of the logits; each has a training image.
    """
    if config.class_weights == "none":
        return [1.0] * len(classes)
    if config.class_weights == "auto":
        counts = Counter(labels)
        return [len(labels) / (len(classes) * counts[name]) for name in classes]
    return [config.class_weights.get(name, 1.0) for name in classes]
