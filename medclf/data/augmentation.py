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


def build_batch_mixing(mixup: float, cutmix: float, num_classes: int) -> v2.Transform | None:
    """Mixup, CutMix, or one of them drawn for each batch; None where neither is wanted.

    Takes float images (n, channels, height, width) and classes (n,); gives images and the share of each class
    (n, classes).

    Args:
        mixup: alpha of mixup (Zhang et al., ICLR 2018); 0: none.
        cutmix: alpha of CutMix (Yun et al., ICCV 2019); 0: none.
        num_classes: of the dataset.
    """
    kinds: list[v2.Transform] = [v2.MixUp(alpha=mixup, num_classes=num_classes)] if mixup else []
    kinds += [v2.CutMix(alpha=cutmix, num_classes=num_classes)] if cutmix else []
    return v2.RandomChoice(kinds) if kinds else None
