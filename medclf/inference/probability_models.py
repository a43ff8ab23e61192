"""Networks joined into one: from images to probabilities, all inside, so that what is used is what is exported."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medclf.models.network import Network

SMALLEST = torch.finfo(torch.float32).tiny


class ProbabilityModel(nn.Module):
    """Takes images in each of its forms, uint8, (n, channels, size, size).

    Gives class probabilities (n, classes), float64 where the device has it, and features (n, f) of its first network.
    """

    wide = True
    """Whether probabilities are float64, in which confident predictions have no ties."""

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and features."""
        raise NotImplementedError


class CalibratedNetwork(ProbabilityModel):
    """One network.

    Args:
        network: of the part.
        at: which of the images are in its form.
    """

    def __init__(self, network: Network, at: int) -> None:
        super().__init__()
        self.network = network
        self.at = at

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the softmax of the logits."""
        logits, features = self.network.logits_and_features(images[self.at])
        logits = logits.double() if self.wide and logits.device.type != "mps" else logits.float()
        return logits.softmax(1), features.float()


class EnsembleModel(ProbabilityModel):
    """An ensemble: the mean of its members' probabilities (Lakshminarayanan et al., NeurIPS 2017)."""

    def __init__(self, members: Sequence[ProbabilityModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean probabilities, and the first member's features."""
        outputs = [member(*images) for member in self.members]
        return torch.stack([probabilities for probabilities, _ in outputs]).mean(0), outputs[0][1]


class CascadeModel(ProbabilityModel):
    """A binary stage, then one that tells diseases apart.

    The probability of a disease is that of being ill at all, by the first stage, times its share among the diseases, by
    the second. The classes are the gate, which is the first stage's healthy class, and then the diseases.

    Args:
        first: of two classes.
        second: of the diseases, and others.
        gate: the healthy class of the first stage, by its place.
        diseases: the places of the diseases among the second stage's classes.
    """

    def __init__(self, first: ProbabilityModel, second: ProbabilityModel, gate: int, diseases: Sequence[int]) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.gate = gate
        self.diseases = list(diseases)

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Healthy and each disease, and the first stage's features."""
        first, features = self.first(*images)
        second = self.second(*images)[0][:, self.diseases].clamp(min=SMALLEST)
        ill = first[:, 1 - self.gate, None]
        shares = second / second.sum(1, keepdim=True)
        return torch.cat([first[:, self.gate, None], ill * shares], 1), features


class FlipAveraging(ProbabilityModel):
    """Test-time augmentation: the mean over the images and their mirror images, left and right exchanged."""

    def __init__(self, joint: ProbabilityModel) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean over both orientations, and the features of the unflipped images."""
        probabilities, features = self.joint(*images)
        mirrored, _ = self.joint(*(image.flip(-1) for image in images))
        return (probabilities + mirrored) / 2, features


class Outputs(NamedTuple):
    """Of each image: calibrated probabilities (n, classes), the predicted class (n,), the network's own probabilities
    (n, classes), and features (n, f)."""

    probabilities: Tensor
    predicted: Tensor
    uncalibrated: Tensor
    features: Tensor


class Classifier(nn.Module):
    """A joint network with its operating point and its temperature: all that a user of the model needs.

    Args:
        joint: gives probabilities.
        temperature: by which logits are divided.
        threshold: None: the most probable class is predicted. Else the class ``gate`` is predicted where all others
            together are less probable than this, and the most probable of the others where they are not; of two classes
            that is the threshold of the positive one. It holds for the network's own probabilities.
        gate: the place of that class; None without a threshold.
    """

    def __init__(self, joint: ProbabilityModel, temperature: float, threshold: float | None, gate: int | None) -> None:
        super().__init__()
        self.joint = joint
        self.temperature = temperature
        self.threshold = threshold
        self.gate = gate

    def forward(self, *images: Tensor) -> Outputs:
        """Map images in each form to probabilities, decisions and features."""
        own, features = self.joint(*images)
        calibrated = (own.clamp(min=SMALLEST).log() / self.temperature).softmax(1)
        return Outputs(calibrated, self._predicted(own), own, features)

    def _predicted(self, own: Tensor) -> Tensor:
        if self.threshold is None or self.gate is None:
            return own.argmax(1)
        place = torch.arange(own.shape[1], device=own.device) == self.gate
        others = own.masked_fill(place, -1.0)
        # of two classes the other one's own probability: what it was chosen on, to the last bit
        together = others.amax(1) if own.shape[1] == 2 else 1 - own[:, self.gate]
        return torch.where(together >= self.threshold, others.argmax(1), self.gate)


def list_networks(module: nn.Module) -> list[CalibratedNetwork]:
    """Return the networks of a model, in order."""
    return [part for part in module.modules() if isinstance(part, CalibratedNetwork)]
