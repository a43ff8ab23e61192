from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medclf.config.component_registry import BACKBONES, HEADS, Components, build_component
from medclf.utils.errors import ConfigError


class Network(nn.Module):
    """Normalisation, backbone and head: from bytes to a logit for each class.

    Args:
        backbone: takes normalised images (n, channels, height, width), gives features (n, f), or maps (n, f, h, w)
            of which the mean over each map is taken.
        head: takes features (n, f), gives logits (n, outputs); one output is the logit of the second of two classes.
        mean: of each channel, as a share of 255.
        sd: the standard deviation of each channel, as a share of 255.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, mean: Sequence[float], sd: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.frozen = False
        self._normalization = {"mean": list(mean), "sd": list(sd)}
        for name, values in self._normalization.items():
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast so, on a CPU too

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, channels, height, width), values 0 to 255, or features (n, f), to logits (n, classes).

        With one output z the logits are (0, z): their softmax is (1 - sigmoid(z), sigmoid(z)), and their cross-entropy
        is the binary cross-entropy of z.
        """
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (n, classes) of images or of their features, as ``forward`` takes them, and the features.

        Features (n, f) are returned as the backbone gives them, or as they were passed.
        """
        features = self.features(images) if images.ndim == 4 else images
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 logits would make ties
            logits = torch.as_tensor(self.head(features.to(self.mean.dtype)))
        logits = torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
        return logits, features

    def features(self, images: Tensor) -> Tensor:
        """Map images (n, channels, height, width), values 0 to 255, to features (n, f)."""
        normalised = (images.to(self.mean.dtype) / 255 - self.mean) / self.sd
        features = torch.as_tensor(self.backbone(normalised.contiguous(memory_format=torch.channels_last)))
        return features.mean((2, 3)) if features.ndim == 4 else features

    def set_normalization(self) -> None:
        """Set mean and standard deviation, which a network that was built on the ``meta`` device does not have."""
        for name, values in self._normalization.items():
            getattr(self, name).copy_(torch.tensor(values).reshape(1, -1, 1, 1))

    def freeze(self) -> None:
        """Keep the backbone as it is: no gradients, and BatchNorm in evaluation mode."""
        self.frozen = True
        self.backbone.requires_grad_(False).eval()

    def unfreeze(self) -> None:
        """Let the backbone learn too."""
        self.frozen = False
        self.backbone.requires_grad_(True).train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Training mode, but for a frozen backbone, which stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


def build_network(
    model: dict[str, Any],
    mean: Sequence[float],
    sd: Sequence[float],
    image_size: int,
    num_classes: int,
    trust_code: bool = False,
) -> Network:
    """Build the network that a model config describes, with random weights.

    Args:
        model: the config of group ``model`` as a plain dict.
        mean: of each channel (one if grey, three if colour), as a share of 255.
        sd: the standard deviation of each channel, as a share of 255.
        image_size: side of the images in pixels, to try the network on two of them.
        num_classes: classes of the dataset.
        trust_code: whether backbone and head may be of code that is not medclf's.

    Raises:
        ConfigError: when backbone or head cannot be built, or do not fit each other or the classes.
    """
    shape = (2, len(mean), image_size, image_size)
    backbone = _built("backbone", model, BACKBONES, trust_code, in_channels=len(mean))
    network = Network(backbone, nn.Identity(), mean, sd)
    images = torch.zeros(shape, dtype=torch.uint8)
    features = _try(network, network.features, images, f"model: the network cannot take images of {shape[1:]}")
    if features.ndim != 2:
        raise ConfigError(
            f"model.backbone={model['backbone']['_target_']}: gives {tuple(features.shape)} for images of {shape}; "
            "(n, features) or (n, features, height, width) is needed"
        )
    if model["activation"] == "sigmoid" and num_classes != 2:
        raise ConfigError(f"model.activation=sigmoid: one logit tells two classes apart, the dataset has {num_classes}")
    outputs = 1 if model["activation"] == "sigmoid" else num_classes
    # what the config states goes over what we know, so that a wrong number is found and named below
    network.head = _built("head", model, HEADS, trust_code, in_features=features.shape[1], out_features=outputs)
    told = f"model.head: cannot take the {features.shape[1]} features that model.backbone gives"
    given = tuple(_try(network, network.head, features, told).shape)
    if given != (2, outputs):
        raise ConfigError(
            f"model.head: gives {given[1:]} outputs for an image; model.activation={model['activation']} with "
            f"{num_classes} classes needs {outputs}; leave out_features out of the config"
        )
    if model["frozen"] or model["unfreeze_at"] is not None:
        if not list(network.head.parameters()):
            raise ConfigError(
                "model.frozen=true: the head has no parameters, so nothing would learn; model/head=linear"
            )
        network.freeze()
    return network


def _built(part: str, model: dict[str, Any], known: Components, trust_code: bool, **more: Any) -> nn.Module:
    module = build_component(f"model.{part}", model[part], known, trust_code, **more)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"model.{part}._target_={model[part]['_target_']}: is not a torch.nn.Module")
    return module


@torch.no_grad()
def _try(network: Network, call: Callable[[Tensor], Tensor], values: Tensor, told: str) -> Tensor:
    """One pass in evaluation mode; it changes no weight, no statistic and no random state."""
    mode = network.training
    network.eval()
    try:
        return call(values)
    except RuntimeError as error:
        raise ConfigError(f"{told}: {error}") from error
    finally:
        network.train(mode)
