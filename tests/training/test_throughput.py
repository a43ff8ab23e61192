"""Images a second, and how much of the time is waiting for them."""

import logging
import time
from types import SimpleNamespace

import pytest
from helpers.commands import TINY_PHANTOM
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from medclf.training import callbacks
from medclf.training.callbacks import LogPace

SLOW = f"augmentation.transforms=[{{_target_: {__name__}.Slow}}]"
HINT = "More processes that augment may be faster: dataset.num_workers="


class Slow(nn.Module):
    """An augmentation that takes its time."""

    def forward(self, image):
        time.sleep(0.01)
        return image


def curve(folder, tag):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars(f"time/{tag}")]


@pytest.mark.parametrize("words", [[], ["trust_code=true", SLOW]])
def test_every_epoch_is_logged_and_the_whole_is_said(train, tmp_path, words):
    answer = train(*TINY_PHANTOM, *words, "hydra.run.dir=run")
    assert answer.code == 0, answer.text
    paces, shares = (curve(tmp_path / "run", tag) for tag in ("images_per_second", "waiting_for_data"))
    assert len(paces) == len(shares) == 2
    assert all(pace > 0 for pace in paces)
    assert all(0 <= share <= 1 for share in shares)
    (line,) = (line for line in answer.out.splitlines() if "Training batches: " in line)
    assert " images/s, " in line
    assert line.endswith(" % of the time waiting for data.")
    if words:
        assert all(share > 0.5 for share in shares)
        assert all(pace < 100 for pace in paces)


@pytest.fixture
def run(monkeypatch, caplog):
    """Epochs of batches of eight images, each batch waited for and worked on; what is logged, and what is said."""
    caplog.set_level(logging.INFO, callbacks.__name__)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def run(*epochs, cores=2, workers=0, processes=1, resumed=False):
        monkeypatch.setattr("medclf.training.callbacks.os.cpu_count", lambda: cores)
        logged = []
        module = SimpleNamespace(log_dict=lambda values, **_: logged.append(tuple(values.values())))
        loader = SimpleNamespace(num_workers=workers)
        trainer = SimpleNamespace(world_size=processes, is_global_zero=True, train_dataloader=loader)
        batch = SimpleNamespace(target=range(8))
        callback = LogPace()
        clock.now += 100
        callback.on_train_start(trainer, module)
        for position, batches in enumerate(epochs):
            if position > 0 or not resumed:
                callback.on_train_epoch_start(trainer, module)
            for index, (wait, work) in enumerate(batches):
                clock.now += wait
                callback.on_train_batch_start(trainer, module, batch, index)
                clock.now += work
                callback.on_train_batch_end(trainer, module, {}, batch, index)
            clock.now += 100
            callback.on_train_epoch_end(trainer, module)
        callback.on_train_end(trainer, module)
        return logged, caplog.messages

    return run


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_an_epoch_counts_its_batches_alone_and_the_end_all_of_them(run, processes, resumed):
    """Lightning may not tell the start of the epoch that a resumed run goes on with."""
    logged, said = run([(1, 1), (0, 1), (2, 1), (1, 1)], [(0, 1), (1, 2)], processes=processes, resumed=resumed)
    assert logged == [(4 * processes, 0.5), (4 * processes, 0.25)]
    assert said == [f"Training batches: {4 * processes} images/s, 42 % of the time waiting for data."]


@pytest.mark.parametrize(
    ("wait", "cores", "workers", "hint"),
    [(3, 16, 0, 2), (3, 3, 0, 2), (3, 2, 0, None), (1, 16, 0, None), (3, 16, 2, 4), (3, 4, 2, None)],
)
def test_more_processes_are_advised_where_waiting_is_long_and_cores_are_free(run, wait, cores, workers, hint):
    _, said = run([(wait, 9)] * 2, cores=cores, workers=workers)
    assert [line for line in said if line.startswith(HINT)] == ([] if hint is None else [f"{HINT}{hint}"])


def test_a_run_says_it_too(train, monkeypatch):
    monkeypatch.setattr("medclf.training.callbacks.os.cpu_count", lambda: 16)
    answer = train(*TINY_PHANTOM, SLOW, "trust_code=true", "trainer.max_epochs=1", "hydra.run.dir=many")
    assert f"{HINT}2" in answer.out
    monkeypatch.setattr("medclf.training.callbacks.os.cpu_count", lambda: 2)
    assert HINT not in train(*TINY_PHANTOM, SLOW, "trust_code=true", "trainer.max_epochs=1", "hydra.run.dir=two").out
