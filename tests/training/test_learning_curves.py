"""The metrics of each epoch as a table."""

import logging
import math

import numpy as np
import pandas as pd
import pytest
from helpers.commands import TINY_PHANTOM
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medclf.metric_registry import metric_names
from medclf.training.epoch_metrics import EpochHistory


def events_of(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


class InterruptLater(Callback):
    """Ctrl-C in the third epoch, the first time."""

    done = False

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == 2 and not InterruptLater.done:
            InterruptLater.done = True
            raise KeyboardInterrupt


def test_a_row_an_epoch_with_what_tensorboard_was_told(finished):
    frame = pd.read_csv(finished[0] / "history.csv")
    assert frame["epoch"].tolist() == [0, 1]
    names = {f"{part}/{name}" for part in ("train", "val") for name in ("loss", *metric_names(2))}
    assert set(frame) == {"epoch", *names}
    accumulator = events_of(finished[0])
    for name in names:
        told = [event.value for event in accumulator.Scalars(name)]
        assert np.array_equal(frame[name], told, equal_nan=True)


def test_metrics_are_kept_as_loggers_store_them_and_the_last_value_of_an_epoch_counts():
    history = EpochHistory()
    history.add(1, {"val/loss": 0.1})
    history.add(0, {"val/loss": 0.3, "train/loss": math.nan})
    history.add(1, {"val/loss": 0.2})
    resumed = EpochHistory()
    resumed.add(7, {"val/loss": 1.0})
    resumed.load_state_dict(history.state_dict())
    expected = {"epoch": [0, 1], "train/loss": [math.nan] * 2, "val/loss": [float(np.float32(v)) for v in (0.3, 0.2)]}
    pd.testing.assert_frame_equal(resumed.table(), pd.DataFrame(expected))


@pytest.mark.parametrize("state", [None, [1], {0: 1.0}, {"first": {}}, {0: {"val/loss": "low"}}])
def test_a_state_that_is_no_history_is_refused(state):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        EpochHistory().load_state_dict(state)


def test_a_resumed_run_has_every_epoch_once(train, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tensorboard"), "level", logging.WARNING)
    words = [*TINY_PHANTOM, "trainer.max_epochs=4", "hydra.run.dir=run"]
    assert train(*words, f"+callbacks.stop._target_={__name__}.InterruptLater", "trust_code=true").code == 130
    assert not (tmp_path / "run" / "history.csv").exists()
    answer = train("resume=run", "trust_code=true")
    assert answer.code == 0, answer.text
    frame = pd.read_csv(tmp_path / "run" / "history.csv")
    assert frame["epoch"].tolist() == [0, 1, 2, 3]
    assert frame["val/loss"].notna().all()
    assert frame["train/loss"].notna().all()
    assert len(list((tmp_path / "run").glob("events*"))) > 1


def test_a_run_without_tensorboard_has_its_history_too(train, tmp_path):
    words = ["hydra.run.dir=run", "evaluation.plots=true", "evaluation.grad_cam=1", "evaluation.gallery=2"]
    answer = train(*TINY_PHANTOM, "logger=csv", *words)
    assert answer.code == 0, answer.text
    assert pd.read_csv(tmp_path / "run" / "history.csv")["epoch"].tolist() == [0, 1]
    assert (tmp_path / "run" / "figures" / "learning_curves.png").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert list(pd.read_csv(tmp_path / "run" / "metrics.csv"))[:2] == ["split", "metric"]
