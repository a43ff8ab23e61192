"""What is typed when a run is resumed changes its saved configuration as Hydra would have changed it."""

import pytest

from medclf.cli import resolvers
from medclf.config.composition import Composer
from medclf.config.resume import build_resumed_config
from medclf.config.schema import TrainConfig, validate_config
from medclf.utils.errors import ConfigError
from medclf.utils.json_yaml import write_json, write_yaml
from medclf.utils.run_folder import Run

STARTED = ["model=resnet18", "callbacks=early_stopping", "trainer.max_epochs=2", "+callbacks.stop._target_=mine.Stop"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    resolvers.register_resolvers()
    run = Run(tmp_path_factory.mktemp("started"))
    write_yaml(run.config, validate_config(Composer("train").compose(STARTED), TrainConfig).model_dump(by_alias=True))
    write_json(run.record, {"command": STARTED})
    return run


@pytest.mark.parametrize(
    "typed",
    [
        ["trainer.max_epochs=7"],
        ["++trainer.max_epochs=7"],
        ["+callbacks.stop.patience=3"],
        ["++callbacks.stop.patience=3"],
        ["~callbacks.stop"],
        ["~callbacks.early_stopping"],
        ["+callbacks.second={_target_: mine.Second, at: [1, 2]}"],
        ["trainer=gpu"],
        ["trainer=gpu", "trainer.devices=2"],
        ["dataset.exclude=[a,b]"],
        ["logger.tensorboard.name=null"],
    ],
    ids=" ".join,
)
def test_an_override_does_what_hydra_does(run, typed):
    resumed = build_resumed_config(run, [f"resume='{run.folder}'", *typed], Composer("train"))
    composed = validate_config(Composer("train").compose([*STARTED, *typed]), TrainConfig)
    ignored = {"resume", "resume_from", "trust_code"}
    assert resumed.model_dump(exclude=ignored) == composed.model_dump(exclude=ignored)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("~callbacks.stopp", "callbacks.stopp: there is no such key; did you mean 'callbacks.stop'"),
        ("trainer.max_epoch=3", "trainer.max_epoch: lightning.Trainer has no such argument; did you mean 'max_epochs'"),
        ("experiment=quick", "experiment=quick: cannot be changed when a run is resumed"),
        ("trainer.max_epochs=2,3", "trainer.max_epochs=2,3: has several values"),
        ("seed=${oc.env:HOME}", "an expression cannot be typed"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(run, typed, message):
    with pytest.raises(ConfigError) as error:
        build_resumed_config(run, [f"resume='{run.folder}'", typed], Composer("train"))
    assert message in str(error.value)
