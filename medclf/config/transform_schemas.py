"""The transforms of torchvision that an augmentation may name, and their arguments.

They take one uint8 image of shape (channels, size, size) and give one of the same shape.
"""

from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from medclf.config.field_types import (
    ComponentConfig,
    Components,
    NoArguments,
    NonNegative,
    Positive,
    Probability,
    not_null,
)
from medclf.config.limits import MAX_IMAGE_SIZE

Interpolation = Literal["nearest", "bilinear"]
"""The kinds of interpolation that torchvision does on tensors."""


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _number_or_range(low: float, high: float, example: str, lengths: tuple[int, ...] = (2,)) -> AfterValidator:
    """Return the check of a number from max(low, 0) to ``high``, or a range of numbers from ``low`` to ``high``."""

    def check(value: Any) -> Any:
        if value is None or _is_number(value, max(low, 0), high):
            return value
        pairs = isinstance(value, list) and len(value) in lengths and all(_is_number(one, low, high) for one in value)
        if not pairs or any(value[at] > value[at + 1] for at in range(0, len(value), 2)):
            raise ValueError(f"must be a number from {max(low, 0):g} to {high:g}, or a range such as {example}")
        return value

    return AfterValidator(check)


def _fill(value: Any) -> Any:
    channels = value if isinstance(value, list) and len(value) in (1, 3) else [value]
    if value is not None and not all(_is_number(item, 0, 255) for item in channels):
        raise ValueError("must be a number from 0 to 255, or a list of one for each channel, such as [0,0,0]")
    return value


def _increasing(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise ValueError("must be a range, the smaller number first, such as [0.8,1.2]")
    return value


def _kernel(value: Any) -> Any:
    items = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(isinstance(item, int) and _is_number(item, 1, 255) and item % 2 for item in items):
        raise ValueError("must be an odd whole number from 1 to 255, or two of them, such as [5,5]")
    return value


def _side(value: Any) -> Any:
    items = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(isinstance(item, int) and _is_number(item, 1, MAX_IMAGE_SIZE) for item in items):
        raise ValueError(f"must be a whole number of pixels from 1 to {MAX_IMAGE_SIZE}")
    return value


Fill = Annotated[Any, AfterValidator(_fill)]
Degrees = Annotated[Any, AfterValidator(not_null), _number_or_range(-360, 360, "[-10,10]")]
Factor = Annotated[Any, _number_or_range(0, 100, "[0.8,1.2]")]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_increasing)]
Areas = Annotated[list[Probability], Field(min_length=2, max_length=2), AfterValidator(_increasing)]
Center = Annotated[list[float], Field(min_length=2, max_length=2)] | None


class WithEnums(ComponentConfig):
    """Arguments that torchvision takes as members of its enumerations, and a configuration names."""

    @classmethod
    def converted(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with the members in place of their names."""
        transforms = import_module("torchvision.transforms")  # which --help does not pay
        enums = {"interpolation": transforms.InterpolationMode, "policy": transforms.AutoAugmentPolicy}
        return {name: enums[name](value) if name in enums else value for name, value in arguments.items()}


class RandomConfig(ComponentConfig):
    """Arguments of a transform that is applied with probability ``p``."""

    p: Probability = 0.5


class RandomRotationConfig(WithEnums):
    """Arguments of ``RandomRotation``; ``expand`` would change the image's size."""

    degrees: Degrees
    interpolation: Interpolation = "nearest"
    center: Center = None
    fill: Fill = 0


class RandomAffineConfig(WithEnums):
    """Arguments of ``RandomAffine``."""

    degrees: Degrees
    translate: Annotated[list[Probability], Field(min_length=2, max_length=2)] | None = None
    scale: Range | None = None
    shear: Annotated[Any, _number_or_range(-90, 90, "[-5,5]", (2, 4))] = None
    interpolation: Interpolation = "nearest"
    fill: Fill = 0
    center: Center = None


class RandomPerspectiveConfig(WithEnums):
    """Arguments of ``RandomPerspective``."""

    distortion_scale: Probability = 0.5
    p: Probability = 0.5
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0


class ElasticTransformConfig(WithEnums):
    """Arguments of ``ElasticTransform``."""

    alpha: Annotated[float, Field(ge=0, le=1000)] = 50.0
    sigma: Annotated[float, Field(gt=0, le=100)] = 5.0
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0


class RandomResizedCropConfig(WithEnums):
    """Arguments of ``RandomResizedCrop``."""

    size: Annotated[Any, AfterValidator(_side)]
    scale: Range = Field([0.08, 1.0])
    ratio: Range = Field([0.75, 4 / 3])
    interpolation: Literal["nearest", "nearest-exact", "bilinear", "bicubic"] = "bilinear"
    antialias: bool | None = True


class RandomCropConfig(ComponentConfig):
    """Arguments of ``RandomCrop``."""

    size: Annotated[Any, AfterValidator(_side)]
    padding: Annotated[int, Field(ge=0, le=MAX_IMAGE_SIZE)] | None = None
    pad_if_needed: bool = False
    fill: Fill = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"


class ColorJitterConfig(ComponentConfig):
    """Arguments of ``ColorJitter``."""

    brightness: Factor = None
    contrast: Factor = None
    saturation: Factor = None
    hue: Annotated[Any, _number_or_range(-0.5, 0.5, "[-0.1,0.1]")] = None


class RandomAdjustSharpnessConfig(RandomConfig):
    """Arguments of ``RandomAdjustSharpness``."""

    sharpness_factor: Annotated[float, Field(ge=0, le=100)]


class RandomPosterizeConfig(RandomConfig):
    """Arguments of ``RandomPosterize``."""

    bits: Annotated[int, Field(ge=1, le=8)]


class RandomSolarizeConfig(RandomConfig):
    """Arguments of ``RandomSolarize``."""

    threshold: Annotated[float, Field(ge=0, le=255)]


class GaussianBlurConfig(ComponentConfig):
    """Arguments of ``GaussianBlur``."""

    kernel_size: Annotated[Any, AfterValidator(_kernel)]
    sigma: Annotated[Any, AfterValidator(not_null), _number_or_range(0.01, 100, "[0.1,2.0]")] = Field([0.1, 2.0])


class GaussianNoiseConfig(ComponentConfig):
    """Arguments of ``GaussianNoise``, as shares of 255."""

    mean: Annotated[float, Field(ge=-1, le=1)] = 0.0
    sigma: Annotated[float, Field(ge=0, le=1)] = 0.1
    clip: bool = True


class RandomErasingConfig(RandomConfig):
    """Arguments of ``RandomErasing``."""

    scale: Areas = Field([0.02, 0.33])
    ratio: Range = Field([0.3, 3.3])
    value: Annotated[float, Field(ge=0, le=255)] = 0.0


class JPEGConfig(ComponentConfig):
    """Arguments of ``JPEG``."""

    quality: Annotated[Any, AfterValidator(not_null), _number_or_range(1, 100, "[30,90]")]


class GrayscaleConfig(ComponentConfig):
    """Arguments of ``Grayscale``."""

    num_output_channels: Annotated[int, Field(ge=1, le=3)] = 1


class BinsConfig(WithEnums):
    """Arguments of ``TrivialAugmentWide``."""

    num_magnitude_bins: Annotated[int, Field(ge=2, le=1000)] = 31
    interpolation: Interpolation = "nearest"
    fill: Fill = None


class RandAugmentConfig(BinsConfig):
    """Arguments of ``RandAugment``."""

    num_ops: Annotated[int, Field(ge=0, le=20)] = 2
    magnitude: Annotated[int, Field(ge=0)] = 9

    @model_validator(mode="after")
    def _check_magnitude(self) -> "RandAugmentConfig":
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(f"magnitude={self.magnitude} must be below num_magnitude_bins={self.num_magnitude_bins}")
        return self


class AutoAugmentConfig(WithEnums):
    """Arguments of ``AutoAugment``."""

    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    interpolation: Interpolation = "nearest"
    fill: Fill = None


class AugMixConfig(WithEnums):
    """Arguments of ``AugMix``."""

    severity: Annotated[int, Field(ge=1, le=10)] = 3
    mixture_width: Annotated[int, Field(ge=1, le=20)] = 3
    chain_depth: Annotated[int, Field(ge=-1, le=20)] = -1
    alpha: Positive = 1.0
    all_ops: bool = True
    interpolation: Interpolation = "bilinear"
    fill: Fill = None


Nested = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=20)]
"""Nodes of other transforms."""


class TransformsConfig(ComponentConfig):
    """Arguments of ``RandomOrder`` and ``Compose``."""

    transforms: Nested


class RandomApplyConfig(TransformsConfig):
    """Arguments of ``RandomApply``."""

    p: Probability = 0.5


class RandomChoiceConfig(TransformsConfig):
    """Arguments of ``RandomChoice``."""

    p: Annotated[list[NonNegative], Field(min_length=1, max_length=20)] | None = None

    @model_validator(mode="after")
    def _check_p(self) -> "RandomChoiceConfig":
        if self.p is not None and (len(self.p) != len(self.transforms) or sum(self.p) <= 0):
            raise ValueError("p has a probability for each of the transforms, at least one above 0")
        return self


_SCHEMAS: Components = {
    "Identity": NoArguments,
    "RandomHorizontalFlip": RandomConfig,
    "RandomVerticalFlip": RandomConfig,
    "RandomRotation": RandomRotationConfig,
    "RandomAffine": RandomAffineConfig,
    "RandomPerspective": RandomPerspectiveConfig,
    "ElasticTransform": ElasticTransformConfig,
    "RandomResizedCrop": RandomResizedCropConfig,
    "RandomCrop": RandomCropConfig,
    "ColorJitter": ColorJitterConfig,
    "RandomAutocontrast": RandomConfig,
    "RandomEqualize": RandomConfig,
    "RandomInvert": RandomConfig,
    "RandomAdjustSharpness": RandomAdjustSharpnessConfig,
    "RandomPosterize": RandomPosterizeConfig,
    "RandomSolarize": RandomSolarizeConfig,
    "GaussianBlur": GaussianBlurConfig,
    "GaussianNoise": GaussianNoiseConfig,
    "RandomErasing": RandomErasingConfig,
    "JPEG": JPEGConfig,
    "Grayscale": GrayscaleConfig,
    "RandomGrayscale": RandomConfig,
    "RandomChannelPermutation": NoArguments,
    "RandAugment": RandAugmentConfig,
    "TrivialAugmentWide": BinsConfig,
    "AutoAugment": AutoAugmentConfig,
    "AugMix": AugMixConfig,
    "RandomApply": RandomApplyConfig,
    "RandomChoice": RandomChoiceConfig,
    "RandomOrder": TransformsConfig,
    "Compose": TransformsConfig,
}
TRANSFORMS: Components = {f"torchvision.transforms.v2.{name}": schema for name, schema in _SCHEMAS.items()}
