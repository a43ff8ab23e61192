"""Every file of conf/ composes, and says what the code expects."""

import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import lightning
import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from medclf.cli import resolvers
from medclf.config import trainer_schema
from medclf.config.composition import Composer
from medclf.config.conf_folder import conf_dir
from medclf.config.consistency_validation import validate_train_config
from medclf.config.overrides import expand_jobs
from medclf.config.schema import TrainConfig, validate_config
from medclf.config.trainer_schema import TrainerConfig, list_trainer_arguments
from medclf.utils.errors import ConfigError

resolvers.register_resolvers()

GROUPS = (
    "augmentation", "callbacks", "dataset", "logger", "loss", "model", "optimizer", "scheduler", "trainer",
)  # fmt: skip
NOT_IN_DEV = ("mlflow", "wandb")
"""Loggers whose package the development extra does not install."""
CHOICES = [
    f"{group}={path.stem}"
    for group in GROUPS
    for path in sorted((conf_dir() / group).glob("*.yaml"))
    if path.stem != "base" and (path.stem not in NOT_IN_DEV or find_spec(path.stem))
]

NEEDS = {
    "dataset=folder": ["dataset.root=images"],
    "dataset=table": ["dataset.root=images"],
    "model=custom": ["model.backbone._target_=torch.nn.Identity", "trust_code=true"],
    "loss=binary_cross_entropy": ["model.activation=sigmoid"],
}
"""What a choice cannot do without."""


def compose(*overrides: str) -> TrainConfig:
    return validate_config(Composer("train").compose(list(overrides)), TrainConfig)


def test_the_promised_choices_are_there():
    promised = {
        f"dataset={name}"
        for name in ["phantom", "thyroid", "trachea", "pneumonia", "covid", "busi", "hip_mri", "folder"]
    }
    promised |= {f"model={name}" for name in ("cnn", "resnet18", "resnet50", "resnet101")}
    promised |= {f"trainer={name}" for name in ("default", "cpu", "gpu", "ddp")}
    assert promised <= set(CHOICES)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice):
    config = compose(choice, *NEEDS.get(choice, []))
    validate_train_config(config)
    group, name = choice.split("=")
    if hasattr(getattr(config, group), "name"):
        assert getattr(config, group).name == name


@pytest.mark.parametrize("path", sorted(conf_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_target_can_be_imported(path: Path):
    def targets(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["_target_"]] if "_target_" in node else []
            return own + [target for value in node.values() for target in targets(value)]
        return [target for value in node for target in targets(value)] if isinstance(node, list) else []

    for target in targets(OmegaConf.to_container(OmegaConf.load(path))):
        if target == "???":
            continue
        assert get_class(target)
        assert target.startswith(("medclf.", "lightning.", "torch"))


def test_arguments_of_the_trainer_are_those_of_lightning_with_its_defaults():
    arguments = inspect.signature(lightning.Trainer).parameters
    assert list_trainer_arguments() == tuple(arguments)
    fields = TrainerConfig.model_fields
    # a newer Lightning may have more of them, or fewer
    assert {"max_epochs", "max_steps", "gradient_clip_val", "profiler"} <= set(fields) & set(arguments)
    for name in set(fields) & set(arguments):
        assert fields[name].is_required() or fields[name].default == arguments[name].default, name
    listed = set(OmegaConf.load(conf_dir() / "trainer" / "default.yaml")) - {"defaults"}
    assert listed == {name for name, field in fields.items() if field.is_required()}


def test_any_argument_of_the_trainer_is_set_without_a_plus():
    config = compose("trainer=cpu", "trainer.gradient_clip_val=0.5", "trainer.detect_anomaly=true")
    assert (config.trainer.gradient_clip_val, config.trainer.detect_anomaly) == (0.5, True)
    passed = config.trainer.model_dump(exclude_defaults=True)
    listed = {"accelerator", "devices", "precision", "max_epochs", "num_sanity_val_steps", "log_every_n_steps"}
    assert set(passed) == listed | {"gradient_clip_val", "detect_anomaly"}
    with pytest.raises(ConfigError, match="sed: there is no such key"):
        compose("sed=1")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.max_epoch=3", "trainer.max_epoch: lightning.Trainer has no such argument; did you mean 'max_epochs'"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: must be at least 0"),
        ("trainer.callbacks=[ema]", "trainer.callbacks: is not set here; use callbacks="),
        ("trainer.logger=false", "trainer.logger: is not set here; use logger="),
        ("trainer.default_root_dir=x", "trainer.default_root_dir: is not set here; use hydra.run.dir=FOLDER"),
        ("trainer.plugins=[x]", "trainer.plugins=[x]: must be null"),
        ("trainer.profiler={_target_: os.system}", "trainer.profiler={_target_: os.system}: must be one of"),
        ("trainer.strategy=my_module.Mine", "trainer.strategy=my_module.Mine: must be one of"),
    ],
)
def test_a_wrong_argument_of_the_trainer_is_named(override, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        compose(override)


def test_an_argument_of_a_newer_lightning_is_passed_on_if_it_is_a_number(monkeypatch):
    monkeypatch.setattr(trainer_schema, "list_trainer_arguments", lambda: ("max_epochs", "logger", "new_argument"))
    assert compose("trainer.new_argument=3").trainer.model_dump(exclude_defaults=True)["new_argument"] == 3
    for value in ("text", "[1]", "{_target_: os.system}", "1e12"):
        with pytest.raises(ConfigError, match=r"trainer\.new_argument: this version of medclf does not know"):
            compose(f"trainer.new_argument={value}")
    with pytest.raises(ConfigError, match=r"trainer\.newer_argument: lightning\.Trainer has no such argument"):
        compose("trainer.newer_argument=3")


def test_overrides_work_as_one_would_guess():
    config = compose(
        "dataset=busi", "dataset.root=x", "dataset.batch_size=7", "model=resnet50", "model.frozen=true",
        "trainer.max_epochs=25", "trainer.accelerator=cpu", "seed=0",
    )  # fmt: skip
    assert (config.dataset.root, config.dataset.batch_size, config.seed) == ("x", 7, 0)
    assert (config.model.name, config.model.frozen) == ("resnet50", True)
    assert (config.trainer.max_epochs, config.trainer.accelerator) == (25, "cpu")


@pytest.mark.parametrize(
    ("monitor", "mode"), [("val/loss", "min"), ("val/auroc_macro", "max"), ("val/accuracy", "max")]
)
def test_the_better_direction_follows_the_monitor(monitor, mode):
    config = compose(f"monitor={monitor}", "callbacks=early_stopping")
    for name in ("best_checkpoint", "early_stopping"):
        assert (config.callbacks[name]["monitor"], config.callbacks[name]["mode"]) == (monitor, mode)


def test_jobs_cover_each_value_of_each_choice():
    overrides = ["model=cnn,resnet18", "seed=0,1,2", "optimizer.lr=0.1"]
    assert list(expand_jobs(overrides, multirun=False)) == [overrides]
    assert [job[:2] for job in expand_jobs(overrides, multirun=True)] == [
        ["model=cnn", "seed=0"],
        ["model=resnet18", "seed=0"],
        ["model=cnn", "seed=1"],
        ["model=cnn", "seed=2"],
    ]


def test_what_cannot_be_listed_is_left_out_of_the_check():
    overrides = ["model=glob(*)", "optimizer.lr=interval(0.1,1)", "seed=range(3,9)", "trainer=cpu"]
    assert list(expand_jobs(overrides, multirun=True)) == [["seed=3", "trainer=cpu"]]


def test_run_folders_of_one_second_differ():
    node = [Composer("train").compose([]).hydra.run.dir for _ in range(2)]
    assert node[0] != node[1]
    assert node[0].startswith("runs/phantom/cnn/seed0_")
