"""When last.ckpt is written, and what going on from an old one gives."""

import json
import signal
import zipfile

import pytest
import torch
from helpers.commands import TINY_PHANTOM
from lightning.pytorch.callbacks import Callback

from medclf.training.checkpointing import LastCheckpoint

TRUST = "trust_code=true"
NEVER = "callbacks.last_checkpoint.seconds=1000000"


@pytest.fixture
def written(monkeypatch):
    """The epochs in which last.ckpt is written; all but the last time before their training."""
    epochs = []
    save = LastCheckpoint._save_checkpoint

    def saved(self, trainer, filepath):
        epochs.append(trainer.current_epoch)
        save(self, trainer, filepath)

    monkeypatch.setattr(LastCheckpoint, "_save_checkpoint", saved)
    return epochs


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([NEVER], [1, 2]),
        (["callbacks.last_checkpoint.seconds=0"], [1, 2, 2]),
        ([NEVER, "trainer.max_epochs=-1", "trainer.max_steps=10", "scheduler=none"], [1, 1]),
    ],
)
def test_it_is_written_when_it_is_due_and_at_the_end(train, tmp_path, written, words, expected):
    answer = train(*TINY_PHANTOM, "trainer.max_epochs=3", *words, "hydra.run.dir=run")
    assert answer.code == 0, answer.text
    assert written == expected
    assert last(tmp_path / "run")["epoch"] == expected[-1]


def test_the_epoch_that_stops_early_is_kept(train, tmp_path, written):
    """The second epoch is not better by as much as is asked for."""
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=9"]
    answer = train(*TINY_PHANTOM, "trainer.max_epochs=5", "monitor=val/loss", *early, NEVER, "hydra.run.dir=run")
    assert answer.code == 0, answer.text
    assert written == [1, 1]
    assert last(tmp_path / "run")["epoch"] == 1


class InterruptInThird(Callback):
    """Ctrl-C after the first batch of the third epoch, the first time."""

    done = False

    def on_train_batch_end(self, trainer, *_: object) -> None:
        if trainer.current_epoch == 2 and not InterruptInThird.done:
            InterruptInThird.done = True
            raise KeyboardInterrupt


def test_gone_on_with_from_the_second_epoch_it_ends_as_a_run_that_was_never_interrupted(train, tmp_path, monkeypatch):
    monkeypatch.setattr(InterruptInThird, "done", False)
    words = [*TINY_PHANTOM, NEVER, "trainer.max_epochs=3", "augmentation=flip"]
    before = signal.getsignal(signal.SIGINT)
    try:
        answer = train(*words, f"+callbacks.stop._target_={__name__}.InterruptInThird", TRUST, "hydra.run.dir=run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert answer.code == 130
    assert (last(tmp_path / "run")["epoch"], last(tmp_path / "run")["global_step"]) == (1, 5)
    assert train("resume=run", TRUST).code == 0
    assert train(*words, "hydra.run.dir=whole").code == 0
    resumed, whole = last(tmp_path / "run"), last(tmp_path / "whole")
    assert resumed["epoch"] == whole["epoch"] == 2
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in resumed["state_dict"].items())


class BestOnce(Callback):
    """Ctrl-C after the second epoch, the first time; after it nothing is learned."""

    interrupted = False

    def on_train_epoch_start(self, trainer, *_):
        if BestOnce.interrupted:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = 0.0
        elif trainer.current_epoch == 2:
            BestOnce.interrupted = True
            raise KeyboardInterrupt


def test_a_best_checkpoint_newer_than_the_last_one_stays_the_one_to_beat(train, tmp_path):
    BestOnce.interrupted = False
    words = ["monitor=val/loss", "optimizer.lr=0.001", "scheduler=none", "trainer.max_epochs=4", NEVER]
    before = signal.getsignal(signal.SIGINT)
    try:
        stop = f"+callbacks.stop._target_={__name__}.BestOnce"
        answer = train(*TINY_PHANTOM, *words, stop, TRUST, "hydra.run.dir=run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert answer.code == 130
    assert last(tmp_path / "run")["epoch"] == 1
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    (tmp_path / "run").rename(tmp_path / "moved")
    answer = train("resume=moved", TRUST)
    assert answer.code == 0, answer.text
    metrics = json.loads((tmp_path / "moved/metrics.json").read_text(encoding="utf-8"))
    score = next(state["best_model_score"] for state in best["callbacks"].values() if state.get("monitor"))
    assert (metrics["epoch"], metrics["monitor_value"]) == (best["epoch"], pytest.approx(float(score)))


def test_no_checkpoint_names_a_folder(train, tmp_path):
    assert train(*TINY_PHANTOM, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    for name in ("best", "last"):
        with zipfile.ZipFile(tmp_path / f"run/checkpoints/{name}.ckpt") as file:
            content = b"".join(file.read(entry) for entry in file.namelist())
        assert str(tmp_path).encode() not in content
