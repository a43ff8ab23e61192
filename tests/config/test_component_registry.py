"""The schemas of components are those of the real classes."""

import inspect
from importlib import import_module

import pytest
import torch
from torchvision.transforms import v2

from medclf.config.component_registry import (
    BACKBONES,
    CALLBACKS,
    HEADS,
    LOGGERS,
    OPTIMIZERS,
    TRANSFORMS,
    build_component,
    validate_component,
)  # fmt: skip
from medclf.utils.errors import ConfigError

OURS = {"in_channels", "params", "save_dir", "dirpath"}
"""Arguments that medclf gives."""
KNOWN = {**BACKBONES, **HEADS, **OPTIMIZERS, **CALLBACKS, **LOGGERS, **TRANSFORMS}
NEEDED = {
    "RandomRotation": {"degrees": 10, "interpolation": "bilinear"},
    "RandomAffine": {"degrees": [-5, 5], "shear": 3, "scale": [0.9, 1.1], "translate": [0.1, 0.1]},
    "RandomResizedCrop": {"size": 16, "interpolation": "bicubic"},
    "RandomCrop": {"size": 16, "padding": 2},
    "ColorJitter": {"brightness": 0.2, "contrast": [0.8, 1.2], "saturation": 0.1, "hue": 0.1},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomPosterize": {"bits": 3},
    "RandomSolarize": {"threshold": 100},
    "GaussianBlur": {"kernel_size": 3},
    "ElasticTransform": {"sigma": 3.0},
    "JPEG": {"quality": [50, 90]},
    "AutoAugment": {"policy": "svhn"},
}
"""Arguments of transforms that have no default, and some that torchvision takes in another form."""


def made(target: str) -> type:
    module, _, name = target.rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, type)
    return found


@pytest.mark.parametrize("target", KNOWN)
def test_a_schema_has_arguments_of_its_class_and_all_that_it_needs(target):
    parameters = inspect.signature(made(target)).parameters
    fields = KNOWN[target].model_fields
    assert set(fields) <= set(parameters)
    needed = {name for name, one in parameters.items() if one.default is one.empty and one.kind is not one.VAR_KEYWORD}
    assert needed - OURS <= set(fields)
    for name in needed & set(fields) - {"in_features", "out_features"}:
        assert fields[name].is_required()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("target", TRANSFORMS)
def test_a_known_transform_keeps_the_form_of_an_image(target, channels):
    arguments = dict(NEEDED.get(target.rpartition(".")[2], {}))
    if "transforms" in TRANSFORMS[target].model_fields:
        arguments["transforms"] = [{"_target_": "torchvision.transforms.v2.RandomRotation", **NEEDED["RandomRotation"]}]
    if target.endswith("Grayscale") and "num_output_channels" in TRANSFORMS[target].model_fields:
        arguments["num_output_channels"] = channels
    transform = build_component("augmentation.transforms.0", {"_target_": target, **arguments}, TRANSFORMS, False)
    torch.manual_seed(0)
    image = torch.randint(0, 256, (channels, 16, 16), dtype=torch.uint8)
    for _ in range(4):
        seen = transform(image)
        assert (type(seen), seen.dtype, seen.shape) == (torch.Tensor, torch.uint8, image.shape)


def test_nested_nodes_are_built_with_the_members_of_enumerations():
    rotation = {"_target_": "torchvision.transforms.v2.RandomRotation", **NEEDED["RandomRotation"]}
    node = {"_target_": "torchvision.transforms.v2.RandomApply", "p": 1.0, "transforms": [rotation]}
    inner = build_component("x", node, TRANSFORMS, False).transforms[0]
    assert inner.interpolation is v2.InterpolationMode.BILINEAR


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"lr": 0.1, "nesterov": True}, "nesterov=true needs a momentum above 0"),
        ({"lr": float("inf")}, "optimizer.lr=inf: must be a finite number"),
        ({"lr": "0.1"}, "optimizer.lr=0.1: must be a number"),
        ({"lr": 0.1, "momentun": 0.9}, "optimizer.momentun: there is no such key; did you mean 'momentum'?"),
        ({"momentum": 0.9}, "optimizer.lr: is missing"),
        ({"lr": 0.1, "maximize": True}, "optimizer.maximize: there is no such key"),
    ],
)
def test_wrong_arguments_are_named(arguments, expected):
    with pytest.raises(ConfigError) as caught:
        validate_component("optimizer", {"_target_": "torch.optim.SGD", **arguments}, OPTIMIZERS, False)
    assert expected in str(caught.value)
