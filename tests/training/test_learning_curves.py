"""The metrics of each epoch as a table."""

import logging

import numpy as np
import pandas as pd
from helpers.commands import TINY_PHANTOM
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medclf.metric_registry import metric_names
from medclf.training.tensorboard import read_history


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
    pd.testing.assert_frame_equal(read_history(finished[0]), frame)


def test_a_folder_without_events_has_none(tmp_path):
    assert read_history(tmp_path) is None


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


def test_a_run_without_tensorboard_has_no_history_and_all_else(train, tmp_path):
    words = ["hydra.run.dir=run", "evaluation.plots=true", "evaluation.grad_cam=1", "evaluation.gallery=2"]
    answer = train(*TINY_PHANTOM, "logger=csv", *words)
    assert answer.code == 0, answer.text
    assert not (tmp_path / "run" / "history.csv").exists()
    assert not (tmp_path / "run" / "figures" / "learning_curves.png").exists()
    assert (tmp_path / "run" / "report.html").is_file()
    assert list(pd.read_csv(tmp_path / "run" / "metrics.csv"))[:2] == ["split", "metric"]
