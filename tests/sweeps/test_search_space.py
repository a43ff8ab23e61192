"""The ready spaces fit their models, and what cannot be a search is said before anything is trained."""

import pytest
from helpers.commands import TINY_PHANTOM

from medclf.cli import resolvers
from medclf.config.composition import Composer
from medclf.config.conf_folder import conf_dir
from medclf.config.consistency_validation import validate_train_config
from medclf.config.hydra_plugins import explain_missing_plugin
from medclf.config.overrides import expand_jobs
from medclf.config.schema import TrainConfig, validate_config
from medclf.config.user_config_validation import list_options
from medclf.sweeps.search_space import add_search_space, list_grid_values

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper._impl")
resolvers.register_resolvers()
COMPOSER = Composer("train")
SPACES = [
    "model=cnn",
    "model=cnn_elu",
    "model=resnet18",
    "model=resnet18 hpo/space=frozen",
    "model=resnet50 hpo/space=fine_tuned",
]


@pytest.mark.parametrize(
    "words",
    [f"hpo=bayes {space}" for space in SPACES]
    + ["hpo=grid model=resnet101", "hpo=grid model=resnet18 hpo/space=frozen"],
)
def test_both_ends_of_every_key_of_a_ready_space_are_right(words):
    checked = list(expand_jobs(add_search_space(COMPOSER, words.split(), multirun=True), multirun=True))
    assert len(checked) > 4
    for overrides in checked:
        validate_train_config(validate_config(COMPOSER.compose(overrides), TrainConfig))


@pytest.mark.parametrize("hpo", ["grid", "random", "bayes"])
@pytest.mark.parametrize("model", list_options("model", [conf_dir()]))
def test_every_model_has_a_space(hpo, model):
    node = COMPOSER.compose([f"hpo={hpo}", f"model={model}"])
    assert {"optimizer.lr", "optimizer.weight_decay", "augmentation"} <= set(node.hydra.sweeper.params)
    assert node.hydra.sweeper.study_name == f"phantom_{model}_{hpo}"


def test_a_grid_has_three_values_of_an_interval():
    space = {
        "optimizer.lr": "tag(log,interval(0.0001,0.01))", "model.head.dropout": "interval(0.0,0.6)",
        "trainer.max_epochs": "int(interval(2,4))", "dataset.batch_size": "int(interval(10,50))",
        "scheduler": "none,cosine",
    }  # fmt: skip
    assert list_grid_values(space) == {
        "optimizer.lr": "0.00032,0.001,0.0032", "model.head.dropout": "0.15,0.3,0.45", "trainer.max_epochs": "2,3,4",
        "dataset.batch_size": "20,30,40", "scheduler": "none,cosine",
    }  # fmt: skip
    assert list_grid_values({"seed": "0,1", "augmentation.mixup": "0.0,0.2"}, ["augmentation.mixup"]) == {"seed": "0,1"}


def test_a_space_without_a_search_changes_nothing():
    node = COMPOSER.compose(["model=resnet18"])
    assert "optimizer.lr" in node.search_space
    assert node.hydra.sweeper.params is None
    assert add_search_space(COMPOSER, ["seed=0,1"], multirun=True) == ["seed=0,1"]
    assert "search_space" not in validate_config(node, TrainConfig).model_dump()


@pytest.mark.parametrize(("monitor", "direction"), [("val/auroc_macro", "maximize"), ("val/loss", "minimize")])
def test_the_objective_is_the_monitor(monitor, direction):
    node = COMPOSER.compose(["hpo=bayes", f"monitor={monitor}"])
    assert node.hydra.sweeper.direction == direction
    assert node.callbacks.early_stopping.monitor == monitor


def test_what_is_typed_goes_over_the_space():
    words = add_search_space(
        COMPOSER, ["hpo=bayes", "optimizer.lr=0.1", "seed=0,1", "loss.label_smoothing=interval(0,0.2)"], True
    )
    assert {"optimizer.lr=0.1", "seed=0,1", "loss.label_smoothing=0.0,0.2"} <= set(words)
    assert sum(word.startswith("optimizer.lr=") for word in words) == 1


MISTAKES = {
    "monitor": (["-m", "hpo=bayes", "monitor=val/acuracy"], ["monitor=val/acuracy", "did you mean 'val/accuracy'?"]),
    "key of the space": (
        ["-m", "hpo=bayes", "+search_space={optimizer.lrr:'interval(0.1,1)'}"],
        ["optimizer.lrr: there is no such key", "did you mean 'optimizer.lr'?"],
    ),
    "typed key": (["-m", "hpo=bayes", "'optimizer.lrr=interval(0.1,1)'"], ["did you mean 'optimizer.lr'?"]),
    "bound": (["-m", "hpo=bayes", "optimizer.lr=interval(-1,1)"], ["optimizer.lr=-1", "must be above 0"]),
    "several objectives": (["-m", "hpo=random", "monitor=val/loss,val/accuracy"], ["monitor: is what hpo=random"]),
    "interval in a grid": (["-m", "hpo=grid", "optimizer.lr=interval(0.1,1)"], ["hpo=grid tries single values"]),
    "no sweep": (["hpo=bayes"], ["hpo=bayes: is for a sweep", "add -m"]),
    "launcher of no sweep": (["launcher=joblib"], ["launcher=joblib: is for a sweep", "add -m"]),
    "no trial": (["-m", "hpo=bayes", "hydra.sweeper.n_trials=0"], ["hydra.sweeper.n_trials=0"]),
    "no such search": (["-m", "hpo=bayess"], ["hpo=bayess: there is no such hpo", "did you mean 'bayes'?"]),
    "no such space": (["-m", "hpo=bayes", "hpo/space=frozn"], ["hpo/space=frozn", "did you mean 'frozen'?"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_search_is_refused_before_anything_is_trained(train, tmp_path, name):
    words, expected = MISTAKES[name]
    answer = train(*[word.strip("'") for word in words], *TINY_PHANTOM)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    for part in expected:
        assert part in answer.err
    assert not (tmp_path / "runs").exists()


def test_no_trial_that_ends_well_is_one_message(train):
    answer = train("-m", "hpo=grid", *TINY_PHANTOM, "trainer.max_epochs=1", "optimizer.lr=1e30", "augmentation=none",
                   "optimizer.weight_decay=0,0.01", "hydra.sweeper.n_trials=1")  # fmt: skip
    assert answer.code == 2
    assert "error: 1 of 1 jobs did not finish" in answer.err
    assert "Traceback" not in answer.err


def test_a_plugin_that_is_not_installed():
    assert "pip install 'medclf[hpo]'" in str(explain_missing_plugin("hydra/sweeper/optuna"))
    assert "pip install 'medclf[launchers]'" in str(explain_missing_plugin("hydra/launcher/submitit_slurm"))
    assert explain_missing_plugin("model/resnt18") is None
