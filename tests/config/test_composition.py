"""What cannot be composed, or would take without end, is refused by one message."""

import logging
import re
import time
from functools import cache

import pytest
from omegaconf import open_dict

from medclf.cli import resolvers
from medclf.cli.hydra_validation import validate_hydra_node, validate_trust
from medclf.config.bounded_regex import bounded_search
from medclf.config.composition import Composer
from medclf.config.distributed import FOLLOWER, validate_workers
from medclf.config.hydra_plugins import validate_plugins
from medclf.config.overrides import parse_overrides, validate_combinations
from medclf.config.schema import TrainConfig, validate_config
from medclf.config.trainer_schema import TrainerConfig
from medclf.config.trainer_validation import validate_batches
from medclf.utils.errors import ConfigError

resolvers.register_resolvers()
NAMES = re.compile(r"\w+(Error|Exception)\b|Traceback|NoneType")

WORDS = {
    "no model": ("model=null", "model=null: needs one of cnn, cnn_elu"),
    "no head": ("model/head=null", "model/head=null: needs one of linear"),
    "dataset left out": ("~dataset", "~dataset: needs one of busi"),
    "number for a group": ("dataset=5", "dataset=5: there is no such dataset; valid: busi"),
    "two optimizers": ("optimizer=[adam,sgd]", "optimizer=[adam,sgd]: takes one choice; valid: adam"),
    "no monitor": ("monitor=null", "monitor=null: needs the name of a validation metric"),
    "monitor of another kind": ("monitor=[1]", "monitor=[1]: must be text"),
    "there already": ("+seed=5", "+seed: is there already; leave out the +"),
    "unknown to leave out": ("~sed", "sed: there is no such key; did you mean 'seed'?"),
    "no key": ("=5", "=5: cannot be read: must be key=value"),
    "no value": ("seed", "seed: cannot be read: must be key=value"),
    "needs quotes": ("dataset.name=é", "quotes: 'dataset.name=\"é\"'"),
    "hydra's own": ("hydra.run.dir=null", "hydra.run.dir=null: must not be null"),
    "long": ("seed=" + "1" * 20000, "has 20005 characters"),
    "deep": ("+x=" + "[" * 3000 + "]" * 3000, "cannot be read"),
    "long name of a folder": ("hydra.run.dir=" + "a" * 300, "each part of it of at most 255 bytes"),
    "many values": ("seed=range(1000000000)", "seed=range(1000000000): has 1000000000 values; at most 10000"),
    "many values in any order": ("seed=shuffle(range(1000000000))", "has 1000000000 values"),
    "endless": ("seed=range(0,5,0)", "a step other than 0"),
    "no values": ("seed=range(5,0)", "has no value"),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_cannot_be_used_is_named(name):
    word, expected = WORDS[name]
    with pytest.raises(ConfigError) as caught:
        validate_config(Composer("train").compose([word]), TrainConfig)
    assert expected in str(caught.value)
    assert not NAMES.search(str(caught.value))
    assert len(str(caught.value)) < 400


FILES = {
    "not YAML": ("name: x\nroot: [a\nclasses: 5\n", "bad.yaml, line 3: not valid YAML: "),
    "key twice": ("a: 1\na: 2\n", "bad.yaml, line 2: not valid YAML: found duplicate key a"),
    "not UTF-8": (b"name: \xff\xfe\n", "bad.yaml: is not text in UTF-8"),
    "a list": ("- a\n- b\n", "dataset=[a,b]: must have entries by name"),
    "without what all have": ("name: x\nroot: x\n", "let it begin with defaults: [base, _self_]"),
    "unknown default": ("defaults: [nothing]\n", "dataset/nothing"),
    "includes itself": ("defaults: [bad]\n", "nested too deeply, or one of its files includes itself"),
    "runs code": ("name: !!python/object/apply:os.system [true]\n", "bad.yaml, line 1: not valid YAML"),
    "alias of itself": ("a: &x [*x]\n", "bad.yaml, line 1: an alias that holds itself"),
    "deep": (f"a: {'[' * 2000}{']' * 2000}\n", "is nested more than 40 levels deep"),
    "expands": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 9)),
        "its aliases expand to more than 100000 values",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_users_own_that_cannot_be_read_is_named(tmp_path, name):
    content, expected = FILES[name]
    path = tmp_path / "dataset" / "bad.yaml"
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        validate_config(Composer("train", str(tmp_path)).compose(["dataset=bad"]), TrainConfig)
    assert expected in str(caught.value)
    assert not NAMES.search(str(caught.value))


def test_a_folder_of_configurations_that_is_not_there():
    with pytest.raises(ConfigError, match="--config-dir /nowhere: there is no such folder"):
        Composer("train", "/nowhere").compose([])


def test_a_sweep_of_too_many_jobs_is_refused_before_any_of_them_is_listed():
    swept = parse_overrides(["seed=range(0,200)", "optimizer.lr=range(1,200)"])
    with pytest.raises(ConfigError, match=r"39800 combinations are too many \(seed has 200, optimizer.lr has 199\)"):
        validate_combinations(swept, 10_000)
    validate_combinations(parse_overrides(["seed=range(0,200)", "model=cnn,resnet18"]), 10_000)


PLUGINS = {
    "no cluster": (["launcher=slurm"], "launcher=slurm: srun is not on this machine; .* launcher=joblib"),
    "no job": (
        ["launcher=joblib", "hydra.launcher.n_jobs=0"],
        "hydra.launcher.n_jobs=0: must be a whole number from 1",
    ),
    "code": (["launcher=joblib", "hydra.launcher.pre_dispatch=__import__"], "hydra.launcher.pre_dispatch=__import__"),
    "time": (["launcher=submitit_local", "hydra.launcher.timeout_min=-1"], "hydra.launcher.timeout_min=-1"),
    "trials": (["hpo=random", "hydra.sweeper.n_trials=1000000000"], "n_trials=1000000000: must be at most 100000"),
    "seed": (["hpo=bayes", "hydra.sweeper.sampler.seed=-1"], "hydra.sweeper.sampler.seed=-1: must be at least 0"),
    "direction": (["hpo=bayes", "hydra.sweeper.direction=up"], "hydra.sweeper.direction=up"),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_settings_of_launchers_and_sweepers_are_checked(name, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper._impl")
    monkeypatch.setenv("PATH", "")
    words, expected = PLUGINS[name]
    node = Composer("train").compose(words)
    with pytest.raises(ConfigError, match=expected):
        validate_plugins(node)


@cache
def composed_trainer() -> dict[str, object]:
    return validate_config(Composer("train").compose(["trainer.max_epochs=2"]), TrainConfig).trainer.model_dump()


HYDRA = {
    "level": ("hydra.job_logging.root.level=abc", "hydra.job_logging: Unknown level: 'abc'"),
    "log elsewhere": ("hydra.job_logging.handlers.file.filename=/x.log", "handlers.file.filename: a log is kept in"),
    "log above": ("hydra.job.name=../../x", "hydra.job.name=../../x: must be a name"),
    "folder above": ("hydra.output_subdir=../x", "hydra.output_subdir=../x: must be .hydra or null"),
    "mode": ("hydra.mode=MULTIRUN", "hydra.mode=MULTIRUN: is set by -m"),
    "foreign callback": ("+hydra.callbacks.x._target_=os.system", "hydra.callbacks.x._target_=os.system: importing it"),
    "foreign handler": (
        "hydra.job_logging.handlers.file.class=os.system",
        "handlers.file.class=os.system: importing it",
    ),
    "no class": ("hydra/job_logging=disabled", "hydra.job_logging.handlers.file: has no class"),
}


@pytest.mark.parametrize("name", HYDRA)
def test_hydras_own_settings_are_checked(name):
    word, expected = HYDRA[name]
    with pytest.raises(ConfigError) as caught:
        validate_hydra_node(Composer("train").compose([word]))
    assert expected in str(caught.value)


def test_a_factory_of_logging_is_not_called():
    node = Composer("train").compose([])
    with open_dict(node.hydra.job_logging):
        node.hydra.job_logging.formatters = {"full": {"()": "os.system"}}
    with pytest.raises(ConfigError, match=r"hydra.job_logging.formatters.full.\(\)=os.system: importing it"):
        validate_hydra_node(node)


def test_a_file_cannot_say_that_code_is_trusted(tmp_path):
    text = "# @package _global_\ntrust_code: true\n"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "theirs.yaml").write_text(text, encoding="utf-8")
    node = Composer("train", str(tmp_path)).compose(["experiment=theirs"])
    with pytest.raises(ConfigError, match="trust_code=true: is set in a file and does not count there"):
        validate_trust(node, ["experiment=theirs"])
    validate_trust(node, ["experiment=theirs", "trust_code=true"])


def test_hydras_settings_of_ours_are_right():
    handlers = list(logging.root.handlers)
    for words in ([], ["hpo=bayes", "launcher=joblib"], ["launcher=slurm"], FOLLOWER):
        validate_hydra_node(Composer("train").compose(list(words)))
    assert logging.root.handlers == handlers


def trainer(**changes: object) -> TrainerConfig:
    return TrainerConfig.model_validate({**composed_trainer(), **changes})


BATCHES = {
    "limit of less than a batch": ({"limit_val_batches": 0.1}, "trainer.limit_val_batches=0.1: leaves none of the 2"),
    "overfit": ({"overfit_batches": 0.01}, "trainer.overfit_batches=0.01: leaves none of the 5 batches"),
    "interval above an epoch": ({"val_check_interval": 6}, "trainer.val_check_interval=6: an epoch has 5 batches"),
    "few steps": ({"max_steps": 4}, "training ends after 4 batches, before the first validation after 5"),
    "interval above training": (
        {"val_check_interval": 11, "check_val_every_n_epoch": None},
        "training ends after 10 batches, before the first validation after 11",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCHES)
def test_training_without_a_validation_is_refused(name):
    changes, expected = BATCHES[name]
    with pytest.raises(ConfigError, match=expected):
        validate_batches(trainer(**changes), 8, {"train": 40, "val": 12})


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"max_steps": 5}, {"max_steps": 2, "accumulate_grad_batches": 3}, {"val_check_interval": 5},
        {"val_check_interval": 0.01, "max_steps": 1}, {"val_check_interval": 10, "check_val_every_n_epoch": None},
        {"limit_val_batches": 1, "limit_train_batches": 1, "max_steps": 1}, {"fast_dev_run": True, "max_steps": 1},
    ],
)  # fmt: skip
def test_training_with_a_validation_is_not(changes):
    validate_batches(trainer(**changes), 8, {"train": 40, "val": 12})


def test_a_temporary_folder_that_is_too_long_for_workers(monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp/" + "x" * 71)
    validate_workers(0)
    with pytest.raises(ConfigError, match=r"TMPDIR=/tmp/x+: .*76 characters, at most 7\d.*dataset.num_workers=0"):
        validate_workers(1)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp/" + "x" * 60)
    validate_workers(1)


def test_a_pattern_that_takes_years_ends_within_seconds():
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match=r"dataset.group_pattern=\(a\+\)\+\$: takes more than 1 s for aaa"):
        bounded_search("dataset.group_pattern", "(a+)+$", "a" * 60 + "b")
    assert time.perf_counter() - begin < 10
    found = bounded_search("dataset.group_pattern", r"(patient\d+)_(\d)", "patient12_3.png")
    assert found is not None
    assert found.group(1) == "patient12"
