"""Every value of the training configuration is checked for type and range, without importing torch."""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from medclf.cli import resolvers
from medclf.config.composition import Composer
from medclf.config.consistency_validation import validate_train_config
from medclf.config.schema import TrainConfig, to_plain_data, validate_content
from medclf.config.trainer_schema import TrainerConfig
from medclf.utils.errors import ConfigError

resolvers.register_resolvers()
BASE = ["model=resnet18", "model/head=mlp", "dataset.image_size=32", "trainer.max_epochs=2", "callbacks=early_stopping"]
NOT_NUMBERS = ["abc", float("nan"), float("inf"), -1, 0, True, 1e9, 10**30, None, [1], {"a": 1}]
WRONG = {
    bool: ["abc", 5, None, [True], {"a": 1}],
    int: NOT_NUMBERS,
    float: NOT_NUMBERS,
    str: [5, "nosuch", True, [1, 2], {"a": 1}, None, "x" * 5000, "a\0b"],
    list: [5, ["a", "b"], {"a": 1}, True, [[]], None],
    type(None): ["abc", -1, ["x"], {"a": 1}, float("nan"), True],
}
"""Values that do not fit, by the type of the value that does."""
EXCEPTION = re.compile(r"\w+(Error|Exception)\b|Traceback|Input should be|NoneType")
VALID = {
    "dataset.name": "5 nosuch",
    "dataset.root": "5 nosuch",
    "dataset.source": "5 nosuch None",
    "dataset.layout": "5 nosuch None",
    "dataset.kaggle": "abc -1",
    "dataset.archive": "abc -1",
    "dataset.table.file": "5 nosuch",
    "dataset.table.path": "5 nosuch",
    "dataset.table.label": "5 nosuch",
    "dataset.table.group": "abc -1",
    "dataset.table.split": "abc -1",
    "dataset.positive": "None",
    "dataset.classes": "None",
    "dataset.class_folders": "{'a':1}",
    "dataset.expected": "{'a':1}",
    "dataset.exclude": "['a','b']",
    "dataset.group_pattern": "abc -1",
    "dataset.duplicates.near": "0 None",
    "dataset.store": "5 nosuch",
    "augmentation.name": "5 nosuch",
    "augmentation.mixup": "0 1000000000.0 10**30",
    "augmentation.cutmix": "0 1000000000.0 10**30",
    "model.name": "5 nosuch",
    "model.head.dropout": "0",
    "loss.label_smoothing": "0",
    "optimizer.lr": "1000000000.0 10**30",
    "optimizer.weight_decay": "0 1000000000.0 10**30",
    "scheduler.warmup": "0",
    "callbacks.last_checkpoint.seconds": "0",
    "callbacks.early_stopping.patience": "0",
    "logger.tensorboard.name": "nosuch None",
    "logger.tensorboard.version": "5 nosuch None",
    "trainer.devices": "-1 [1]",
    "trainer.max_epochs": "None",
    "trainer.overfit_batches": "0",
    "trainer.num_sanity_val_steps": "-1 None",
    "trainer.log_every_n_steps": "0 None",
    "trainer.enable_checkpointing": "True",
    "trainer.fast_dev_run": "5",
    "trainer.benchmark": "True",
    "trainer.deterministic": "True",
    "trainer.enable_model_summary": "True",
    "trainer.enable_progress_bar": "True",
    "evaluation.cost": "1000000000.0 10**30",
    "evaluation.subgroups": "['x']",
    "evaluation.gallery": "0",
    "evaluation.grad_cam": "0",
}
"""Of the values above those that fit: names, and numbers that are in range."""


@cache
def composed() -> dict[str, Any]:
    content = to_plain_data(Composer("train").compose(BASE))
    return {**content, "trainer": TrainerConfig.model_validate(content["trainer"]).model_dump()}


def leaves(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        elif key != "resume":
            yield (*path, key), value


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    content = copy.deepcopy(composed())
    node = content
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return content


def shown(value: Any) -> str:
    return "10**30" if value == 10**30 and isinstance(value, int) else str(value).replace(" ", "")


def test_a_wrong_value_of_any_key_is_refused_by_one_message_that_names_the_key():
    validate_train_config(validate_content(composed(), TrainConfig))
    accepted: dict[str, list[str]] = {}
    for path, right in leaves(composed()):
        key = ".".join(path)
        for value in WRONG[type(right)]:
            if value == right and type(value) is type(right):
                continue
            try:
                validate_train_config(validate_content(with_value(path, value), TrainConfig))
            except ConfigError as error:
                said = str(error)
                assert all(path[-1] in line for line in said.splitlines()), f"{key}={shown(value)}: {said}"
                assert not EXCEPTION.search(said), f"{key}={shown(value)}: {said}"
            else:
                accepted.setdefault(key, []).append(shown(value))
    assert {key: " ".join(values) for key, values in accepted.items()} == VALID


TRAINER = {
    "accelerator": ["cpu", "gpu", "cuda"],
    "devices": [1, 2, "auto", "0,1", [0, 1], -1],
    "strategy": ["auto", "ddp"],
    "precision": [None, "bf16-mixed", 32, "64"],
    "max_epochs": [1, -1, None],
    "max_steps": [-1, 10],
    "max_time": ["00:12:00:00", {"hours": 2}],
    "limit_train_batches": [1, 0.5, 1.0],
    "limit_val_batches": [1, 0.5],
    "limit_predict_batches": [None, 1.0],
    "val_check_interval": [0.5, 1, 20],
    "deterministic": [True, "warn", False],
    "profiler": ["simple", "advanced", "pytorch"],
    "gradient_clip_val": [1, 0.5],
    "gradient_clip_algorithm": ["norm", "value"],
    "fast_dev_run": [True, 3],
    "plugins": [None, []],
}


@pytest.mark.parametrize("key", TRAINER)
def test_valid_values_of_the_trainer_arrive_as_they_are(key):
    for value in TRAINER[key]:
        content = with_value(("trainer", key), value)
        content["scheduler"] = {"name": "none"}
        config = validate_content(content, TrainConfig)
        validate_train_config(config)
        arrived = config.trainer.model_dump()[key]
        assert (arrived, type(arrived)) == (value, float if key == "gradient_clip_val" else type(value))


MISFITS = {
    "no epoch": ({"trainer.max_epochs": 0}, "trainer.max_epochs=0: no epoch would be trained"),
    "no step": ({"trainer.max_steps": 0}, "trainer.max_steps=0"),
    "no validation": ({"trainer.limit_val_batches": 0}, "trainer.limit_val_batches=0: .* monitor=val/auroc_macro"),
    "no training": ({"trainer.limit_train_batches": 0.0}, "trainer.limit_train_batches=0.0"),
    "validation after the end": ({"trainer.check_val_every_n_epoch": 3}, "training ends before, at trainer.max"),
    "some test images": ({"trainer.limit_predict_batches": 1}, "trainer.limit_predict_batches=null"),
    "fewer than the least": ({"trainer.min_epochs": 3}, "trainer.min_epochs=3: is above trainer.max_epochs=2"),
    "worst epoch": ({"callbacks.best_checkpoint.mode": "min"}, r"mode=min: val/auroc_macro is better when larger"),
    "stops at the best": ({"callbacks.early_stopping.mode": "min"}, "callbacks.early_stopping.mode=min"),
    "two monitors": ({"callbacks.best_checkpoint.monitor": "val/accuracy"}, "differs from monitor=val/auroc_macro"),
    "no best checkpoint": ({"callbacks.best_checkpoint": None}, "callbacks.best_checkpoint: is missing"),
    "no last checkpoint": ({"callbacks.last_checkpoint": None}, "callbacks.last_checkpoint: is missing"),
    "plateau": (
        {"scheduler": {"name": "plateau"}, "trainer.check_val_every_n_epoch": 2},
        "scheduler=plateau needs a validation in each epoch; use trainer.check_val_every_n_epoch=1",
    ),
    "one value per channel": ({"dataset.batch_size": 1}, "batch normalisation of resnet18 .* use dataset.batch_size=2"),
    "normalised features of one image": (
        {"dataset.batch_size": 1, "dataset.image_size": 64, "model.head.normalize": True},
        "model.head.normalize=true needs two images",
    ),
    "layers without pixels": (
        {"model.backbone": {"_target_": "medclf.models.backbones.SmallCNN", "channels": [8] * 8}},
        "model.backbone.channels: 8 layers",
    ),
    "head of gigabytes": ({"model.head.hidden": [16384] * 4}, r"model.head.hidden=\[16384,.*weights"),
    "crop of another size": (
        {"augmentation.transforms": [{"_target_": "torchvision.transforms.v2.RandomResizedCrop", "size": 64}]},
        "augmentation.transforms.0.size=64: .*size=32",
    ),
    "blur beyond the image": (
        {"augmentation.transforms": [{"_target_": "torchvision.transforms.v2.GaussianBlur", "kernel_size": 65}]},
        "augmentation.transforms.0: reaches 32 pixels over the edge, .* use a smaller kernel_size",
    ),
    "nested transform": (
        {"augmentation.transforms": [{"_target_": "torchvision.transforms.v2.RandomApply", "transforms": [
            {"_target_": "torchvision.transforms.v2.RandomRotation", "degrees": 999}]}]},
        "augmentation.transforms.0.transforms.0.degrees=999",
    ),
    "foreign nested transform": (
        {"augmentation.transforms": [{"_target_": "torchvision.transforms.v2.RandomApply", "transforms": [
            {"_target_": "os.system", "command": "true"}]}]},
        "transforms.0._target_=os.system: .*trust_code=true",
    ),
    "special key": ({"model.head._partial_": True}, "model.head._partial_: there is no such key"),
    "barebones": ({"trainer.barebones": True}, "trainer.barebones=true"),
    "no checkpoints": ({"trainer.enable_checkpointing": False}, "trainer.enable_checkpointing=false"),
    "tpu": ({"trainer.accelerator": "tpu"}, "trainer.accelerator=tpu: needs torch_xla, which is not installed"),
    "name above": ({"dataset.name": "../../up"}, r"dataset.name=../../up: must be a name"),
    "empty class": ({"dataset.classes": ["", "a"]}, "dataset.classes.0=: must be the name of a class"),
    "resamples": ({"evaluation.resamples": 10**12}, "evaluation.resamples=1000000000000: must be at most 1000000"),
    "tiles": ({"dataset.clahe": {"clip_limit": 2.0, "tiles": 100000}}, "tiles=100000: must be at most 64"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_cannot_end_well_is_refused_before_the_first_epoch(name):
    changes, expected = MISFITS[name]
    content = copy.deepcopy(composed())
    for key, value in changes.items():
        node = content
        *parents, last = key.split(".")
        for part in parents:
            node = node[part]
        if value is None:
            del node[last]
        else:
            node[last] = value
    with pytest.raises(ConfigError, match=expected):
        validate_train_config(validate_content(content, TrainConfig))


def test_code_of_the_users_own_needs_trust():
    content = with_value(("model", "backbone"), {"_target_": "my_networks.Mine", "width": 5})
    with pytest.raises(ConfigError, match=r"my_networks\.Mine: this class is not part of medclf; .*trust_code=true"):
        validate_train_config(validate_content(content, TrainConfig))
    validate_train_config(validate_content({**content, "trust_code": True}, TrainConfig))
    content["model"]["backbone"]["_args_"] = [1]
    with pytest.raises(ConfigError, match=r"model\.backbone\._args_: cannot be an argument"):
        validate_train_config(validate_content({**content, "trust_code": True}, TrainConfig))


def test_nothing_here_imports_torch():
    code = "import sys, test_values as t; t.validate_train_config(t.validate_content(t.composed(), t.TrainConfig)); "
    code += "print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
