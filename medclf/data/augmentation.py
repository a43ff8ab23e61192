from typing import Any

from torchvision.transforms import InterpolationMode, v2

from medclf.config.component_registry import TRANSFORMS, build_component, validate_component
from medclf.config.schema import AugmentationConfig


def build_augmentation(config: AugmentationConfig, trust_code: bool = False) -> v2.Transform:
    """Build the random transforms of a training image as one, of uint8 tensors of shape (channels, height, width).

    Raises:
        ConfigError: for a transform that is unknown and not trusted, or does not take its arguments.
    """
    nodes = enumerate(config.transforms)
    built = [_build(f"augmentation.transforms.{at}", node, trust_code) for at, node in nodes]
    return v2.Compose(built or [v2.Identity()])


def _build(key: str, node: dict[str, Any], trust_code: bool) -> v2.Transform:
    validate_component(key, node, TRANSFORMS, trust_code)
    # a configuration has the name of torchvision's enumeration, the class takes the enumeration itself
    mode = {"interpolation": InterpolationMode(node["interpolation"])} if "interpolation" in node else {}
    plain = {name: value for name, value in node.items() if name not in mode}
    transform: v2.Transform = build_component(key, plain, TRANSFORMS, trust_code, **mode)
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
