from collections.abc import Sequence
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from torch import Tensor, nn

from medclf.errors import ConfigError


class Network(nn.Module):
    """Normalisation, backbone and head: from bytes to logits.

    Args:
        backbone: has ``num_features``; takes normalised images (n, channels, height, width).
        head: takes features (n, num_features), gives logits (n, classes).
        mean: of each channel, as a share of 255.
        sd: the standard deviation of each channel, as a share of 255.
        frozen: the backbone keeps its weights, and its BatchNorm its statistics.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self, backbone: nn.Module, head: nn.Module, mean: Sequence[float], sd: Sequence[float], frozen: bool
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.frozen = frozen
        for name, values in (("mean", mean), ("sd", sd)):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)
        if frozen:
            backbone.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast so, on a CPU too

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (n, channels, height, width) to logits (n, classes)."""
        normalised = (images.to(self.mean.dtype) / 255 - self.mean) / self.sd
        return torch.as_tensor(self.head(self.backbone(normalised.contiguous(memory_format=torch.channels_last))))

    def train(self, mode: bool = True) -> "Network":
        """Training mode, but for a frozen backbone, which stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


def build_network(
    model: dict[str, Any], mean: Sequence[float], sd: Sequence[float], image_size: int, num_classes: int
) -> Network:
    """Build the network that a model config describes, with random weights.

    Args:
        model: the config of group ``model`` as a plain dict.
        mean: of each channel (one if grey, three if colour), as a share of 255.
        sd: the standard deviation of each channel, as a share of 255.
        image_size: side of the images in pixels, to try the network on two of them.
        num_classes: number of logits expected.

    Raises:
        ConfigError: when backbone or head cannot be built, or do not fit each other or the classes.
    """
    channels = len(mean)
    try:
        backbone = instantiate(model["backbone"], in_channels=channels)
    except HydraException as error:
        raise ConfigError(f"model.backbone: cannot be built: {error}") from error
    if not isinstance(getattr(backbone, "num_features", None), int):
        raise ConfigError(
            f"model.backbone={model['backbone']['_target_']}: has no num_features, the length of its output"
        )
    try:
        # what the config states goes over what we know, so that a wrong number is found and named below
        head = instantiate({"in_features": backbone.num_features, "num_classes": num_classes, **model["head"]})
    except HydraException as error:
        raise ConfigError(f"model.head: cannot be built: {error}") from error
    network = Network(backbone, head, mean, sd, bool(model["frozen"]))
    _try(network, channels, image_size, num_classes)
    return network


@torch.no_grad()
def _try(network: Network, channels: int, image_size: int, num_classes: int) -> None:
    """One pass in evaluation mode; it changes no weight, no statistic and no random state."""
    images = torch.zeros(2, channels, image_size, image_size, dtype=torch.uint8)
    mode = network.training
    try:
        shape = tuple(network.eval()(images).shape)
    except RuntimeError as error:
        raise ConfigError(f"model: the network cannot take images of {tuple(images.shape[1:])}: {error}") from error
    finally:
        network.train(mode)
    if shape != (2, num_classes):
        raise ConfigError(
            f"model.head: gives {shape[1:]} outputs for an image, but the dataset has {num_classes} classes; "
            "leave its number of classes out of the config"
        )
