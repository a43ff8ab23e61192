from typing import Any

from hydra.utils import instantiate
from torchvision.transforms import InterpolationMode, v2

from medclf.config.schema import Augmentation


def build_augmentation(config: Augmentation) -> v2.Transform:
    """The random transforms of a training image as one, of uint8 tensors of shape (channels, height, width)."""
    return v2.Compose([_build(node) for node in config.transforms] or [v2.Identity()])


def _build(node: dict[str, Any]) -> v2.Transform:
    # the name of torchvision's enumeration, as a config can say it
    if "interpolation" in node:
        node = {**node, "interpolation": InterpolationMode(node["interpolation"])}
    transform: v2.Transform = instantiate(node)
    return transform
