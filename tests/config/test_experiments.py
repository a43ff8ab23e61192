"""Each recipe is what its description says, and runs in the true layout of its images."""

import re

import pytest
import torch
from helpers import dataset_layouts as layouts
from torch import nn

from medclf.cli import resolvers
from medclf.config.composition import Composer
from medclf.config.conf_folder import conf_dir
from medclf.config.consistency_validation import validate_train_config
from medclf.config.schema import TrainConfig, validate_config
from medclf.data.augmentation import build_augmentation
from medclf.models.network import build_network

resolvers.register_resolvers()
EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
PUBLISHED = {
    "thyroid_resnet18", "trachea_resnet18", "pneumonia_resnet50_mlp", "pneumonia_cnn", "pneumonia_resnet50",
    "covid_cnn", "covid_resnet50", "busi_cnn", "busi_resnet50", "hip_mri_resnet101", "covid_stage1", "covid_stage2",
}  # fmt: skip
OURS = {"busi_best", "busi_best_frozen", "busi_best_scratch", "pneumonia_best", "covid_best"}


def recipe(name: str, *overrides: str) -> TrainConfig:
    return validate_config(Composer("train").compose([f"experiment={name}", *overrides]), TrainConfig)


def network(config: TrainConfig, classes: int) -> nn.Module:
    size = config.dataset.image_size
    return build_network(config.model.model_dump(), [0.5], [0.2], size, classes)


def layers(module: nn.Module) -> list[str]:
    return [type(part).__name__ for part in module.modules() if not list(part.children())]


def test_the_promised_recipes_are_there():
    assert set(EXPERIMENTS) >= PUBLISHED | OURS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_header_says_what_it_follows_what_to_type_and_what_was_published(name):
    lines = (conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0] == "# @package _global_"
    assert re.search(r"description 00[0-4]", header) or name in OURS
    assert f"\n# Line: python -m medclf.train experiment={name} " in header
    assert "\n# Published: " in header


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_recipe_composes(name):
    config = recipe(name)
    validate_train_config(config)
    assert config.dataset.name in name
    assert config.model.weights == ("none" if "cnn" in name or "scratch" in name else "default")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_recipe_runs_in_the_true_layout_of_its_images(train, tmp_path, name):
    config = recipe(name)
    getattr(layouts, config.dataset.name)(tmp_path / "images")
    small = ["dataset.image_size=32", "dataset.batch_size=8", "model.weights=none", "trainer.accelerator=cpu"]
    answer = train(
        f"experiment={name}",
        "dataset.root=images",
        *small,
        "trainer.fast_dev_run=1",
        "trainer.enable_progress_bar=false",
    )
    assert answer.code == 0, answer.text
    assert "a trial of the code" in answer.out


# model, frozen, output
DESCRIBED = {
    "thyroid_resnet18": ("resnet18", False, "softmax"),
    "trachea_resnet18": ("resnet18", False, "softmax"),
    "pneumonia_resnet50_mlp": ("resnet50", True, "sigmoid"),
    "pneumonia_cnn": ("cnn", False, "softmax"),
    "pneumonia_resnet50": ("resnet50", True, "softmax"),
    "covid_cnn": ("cnn", False, "softmax"),
    "covid_resnet50": ("resnet50", True, "softmax"),
    "busi_cnn": ("cnn_elu", False, "softmax"),
    "busi_resnet50": ("resnet50", False, "softmax"),
    "hip_mri_resnet101": ("resnet101", True, "sigmoid"),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_network_and_loss(name):
    config = recipe(name)
    assert (config.model.name, config.model.frozen, config.model.activation) == DESCRIBED[name]
    sigmoid = config.model.activation == "sigmoid"
    assert config.loss.name == ("binary_cross_entropy" if sigmoid else "cross_entropy")
    assert (config.loss.class_weights, config.loss.label_smoothing, config.loss.gamma) == ("none", 0, 0)
    assert config.model.unfreeze_at is None
    assert config.optimizer.target == "torch.optim.Adam"
    assert (config.scheduler.name, config.augmentation.mixup, config.augmentation.cutmix) == ("none", 0, 0)
    assert config.dataset.image_size == 224


def test_cnn_is_three_convolutions_relus_poolings_and_one_fully_connected_layer():
    kinds = layers(network(recipe("pneumonia_cnn"), 2))
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Conv2d", "ReLU", "AdaptiveMaxPool2d", "Flatten", "Linear"]


def test_busi_cnn_is_convolutions_elu_max_pooling_and_fully_connected_layers():
    kinds = layers(network(recipe("busi_cnn"), 3))
    assert kinds[:9] == ["Conv2d", "ELU", "MaxPool2d"] * 2 + ["Conv2d", "ELU", "AdaptiveMaxPool2d"]
    assert kinds[9:] == ["Flatten", "Linear", "ELU", "Dropout", "Linear"]


@pytest.mark.parametrize(("name", "hidden"), [("pneumonia_resnet50_mlp", [256, 128]), ("hip_mri_resnet101", [1024])])
def test_dense_layers_with_relu_and_one_sigmoid_output(name, hidden):
    built = network(recipe(name, "dataset.image_size=64"), 2)
    dense = [part for part in built.head if isinstance(part, nn.Linear)]
    assert [part.out_features for part in dense] == [*hidden, 1]
    assert dense[0].in_features == 2048
    assert [type(part) for part in built.head if not isinstance(part, nn.Linear | nn.Dropout)] == [nn.ReLU] * len(
        hidden
    )
    assert "AdaptiveAvgPool2d" in layers(built.backbone)
    learning = {name for name, parameter in built.named_parameters() if parameter.requires_grad}
    assert learning == {f"head.{name}" for name, _ in built.head.named_parameters()}


@pytest.mark.parametrize("name", ["busi_cnn", "busi_resnet50"])
def test_busi_as_described(name):
    config = recipe(name)
    kinds = [type(part).__name__ for part in build_augmentation(config.augmentation).transforms]
    assert kinds == ["RandomHorizontalFlip", "RandomRotation", "RandomAutocontrast"]
    assert config.dataset.splits.test == 0.30
    assert config.dataset.normalization == "imagenet"
    assert config.dataset.exclude == ["*_mask*"]
    assert config.trainer.max_epochs == 25


def test_hip_mri_as_described():
    config = recipe("hip_mri_resnet101")
    kinds = [type(part).__name__ for part in build_augmentation(config.augmentation).transforms]
    assert kinds == ["RandomHorizontalFlip"]
    assert config.dataset.clahe is not None
    assert (config.dataset.splits.val, config.dataset.splits.test) == (0.15, 0.15)
    assert (config.dataset.batch_size, config.trainer.max_epochs, config.optimizer.lr) == (150, 30, 1e-4)


def test_others_as_described():
    for name in ("thyroid_resnet18", "trachea_resnet18"):
        assert recipe(name).monitor == "val/accuracy"
    for name in ("pneumonia_cnn", "pneumonia_resnet50", "pneumonia_resnet50_mlp"):
        assert recipe(name).dataset.splits.folders["val"] == "train"
    for name in ("covid_cnn", "covid_resnet50"):
        assert 21164 * recipe(name).dataset.splits.test == pytest.approx(3176, abs=3)


def test_the_two_stages_are_as_proposed():
    first, second = recipe("covid_stage1"), recipe("covid_stage2")
    assert (first.dataset.classes, first.dataset.positive) == (["healthy", "ill"], "ill")
    assert (first.evaluation.operating_point, first.evaluation.target) == ("sensitivity", 0.95)
    assert second.dataset.classes == ["covid", "lung_opacity", "viral_pneumonia"]
    folders = second.dataset.class_folders
    assert folders is not None
    assert first.dataset.class_folders is not None
    assert first.dataset.class_folders["ill"] == [folders[name] for name in second.dataset.classes]
    for config in (first, second):
        assert (config.model.name, config.model.frozen) == ("resnet50", True)


def test_what_is_typed_goes_over_the_recipe():
    config = recipe("busi_resnet50", "model=resnet18", "model.weights=none", "trainer.max_epochs=3")
    assert (config.model.name, config.model.weights, config.trainer.max_epochs) == ("resnet18", "none", 3)
    assert isinstance(network(config, 3).head, torch.nn.Linear)
