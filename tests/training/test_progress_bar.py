"""The bar of a training in Python: one, or none."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelSummary

from medclf.config.composition import Composer
from medclf.config.schema import TrainConfig, validate_config
from medclf.training.progress_bar import EpochProgress, build_progress_callbacks


def kinds(*words):
    config = validate_config(Composer("train").compose([*words]), TrainConfig)
    return [type(one) for one in build_progress_callbacks(config, True)]


def test_what_the_configuration_turns_off_stays_off():
    assert kinds() == [EpochProgress, ModelSummary]
    assert kinds("trainer.enable_progress_bar=false") == [ModelSummary]
    assert kinds("trainer.enable_model_summary=false") == [EpochProgress]
    own = "+callbacks.bar._target_=lightning.pytorch.callbacks.TQDMProgressBar"
    assert kinds(own) == [ModelSummary]


@pytest.mark.parametrize("shown", [True, False])
def test_the_bar_counts_the_batches_of_all_epochs(capsys, shown):
    trainer = SimpleNamespace(
        max_epochs=2, num_training_batches=3, current_epoch=1, callback_metrics={"val/loss": torch.tensor(0.25)}
    )
    bar = EpochProgress("val/loss", shown)
    bar.on_train_start(trainer, None)
    for _ in range(3):
        bar.on_train_batch_end()
    bar.on_validation_end(trainer, None)
    bar.on_train_end(trainer, None)
    text = capsys.readouterr().err
    assert ("6/6" in text and "epoch=2, val/loss=0.2500" in text) == shown
    assert shown or not text
