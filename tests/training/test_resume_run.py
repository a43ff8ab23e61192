"""Runs that are killed, and what becomes of them: they end as if they had not been."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import TINY_PHANTOM, train_process
from lightning.pytorch.callbacks import Callback

from medclf.utils.run_folder import Run

RECIPE = [
    *TINY_PHANTOM,
    "trainer.max_epochs=30",
    "callbacks.last_checkpoint.seconds=0",
    "dataset.balanced_sampling=true",
    "scheduler=plateau",
    "callbacks=[ema,early_stopping]",
    "callbacks.early_stopping.patience=30",
    "augmentation.mixup=0.2",
    "dataset.store=STORE",
]
TRUST = "trust_code=true"
TESTS = Path(__file__).parents[1]
HERE = {"PYTHONPATH": os.pathsep.join([str(TESTS / "training"), str(TESTS), os.environ.get("PYTHONPATH", "")])}
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")


class KillWhileWriting(Callback):
    """Half of the checkpoint is written when the process dies, in the third epoch."""

    def on_train_epoch_start(self, trainer, *_):
        if trainer.current_epoch == 3 and not trainer.ckpt_path:

            def half(checkpoint, file):
                file.write(b"PK" * 1000)
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

            torch.save = half


def words(folder):
    return [word.replace("STORE", str(folder / "store")) for word in RECIPE]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    answer = train_process(*words(folder), "hydra.run.dir=run", cwd=folder)
    assert answer.code == 0, answer.text
    return folder / "run"


def same(first, second, but=()):
    """Weights, optimizer, averages and everything derived from them, bit for bit.

    Training metrics of the epochs ``but`` are not looked at: they count the batches after the run went on.
    """
    for name in ("predictions.csv", "metrics.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    one, two = (pd.read_csv(run / "history.csv", index_col="epoch") for run in (first, second))
    training = [name for name in one if name.startswith("train/")]
    for table in (one, two):
        table.loc[list(but), training] = 0
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    for name in ("last.ckpt", "best.ckpt"):
        states = [torch.load(run / "checkpoints" / name, weights_only=True) for run in (first, second)]
        for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            assert equal(states[0][key], states[1][key]), (name, key)


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


def wait_for_another(path, process):
    """Until a file is written, or written again."""
    before = path.stat().st_ino if path.is_file() else None
    while (not path.is_file() or path.stat().st_ino == before) and process.poll() is None:
        time.sleep(0.005)


def kill(process, seconds):
    time.sleep(seconds)
    process.kill()
    process.communicate()


@posix
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_and_gone_on_with_each_time(whole, tmp_path, seed):
    """While it starts, three times while it trains, and once while it evaluates."""
    draw = random.Random(seed)
    last = tmp_path / "run/checkpoints/last.ckpt"
    words_typed = [*words(whole.parent), "hydra.run.dir=run"]
    for moment in ("train", "start", "train", "train", "evaluate", None):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "medclf.train", *words_typed], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        if moment == "start":
            kill(process, draw.uniform(0, 5))
        elif moment == "train":
            for _ in range(draw.randint(1, 3)):
                wait_for_another(last, process)
            kill(process, draw.uniform(0, 0.2))
        elif moment == "evaluate":
            assert any("Trained" in line for line in process.stdout)
            kill(process, draw.uniform(0, 0.2))
        else:
            said, _ = process.communicate()
            assert process.returncode == 0, said
        if moment is None or Run(tmp_path / "run").status == "finished":
            break  # what is judged is small, and may be done before the kill comes
        assert process.returncode == -signal.SIGKILL, moment
        words_typed = ["resume=run"]
    assert Run(tmp_path / "run").status == "finished"
    same(tmp_path / "run", whole)


@posix
def test_killed_while_a_checkpoint_is_written(whole, tmp_path):
    kill = "+callbacks.kill._target_=test_resume_run.KillWhileWriting"
    answer = train_process(*words(whole.parent), kill, TRUST, "hydra.run.dir=run", cwd=tmp_path, env=HERE)
    assert answer.code == -signal.SIGKILL
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["epoch"] == 2
    answer = train_process("resume=run", TRUST, cwd=tmp_path, env=HERE)
    assert answer.code == 0, answer.text
    same(tmp_path / "run", whole)
    assert not list((tmp_path / "run/checkpoints").glob(".*"))


class Terminate(Callback):
    """A cluster's notice after the second of five batches of the third epoch, and after the fourth."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        moment = 1 if trainer.ckpt_path is None else 3
        if trainer.current_epoch == 2 and batch_idx == moment:
            os.kill(os.getpid(), signal.SIGTERM)


@posix
def test_a_clusters_notice_is_answered_by_a_checkpoint(whole, tmp_path):
    """In the middle of an epoch, twice; the folder is moved between."""
    stop = "+callbacks.stop._target_=test_resume_run.Terminate"
    first = train_process(*words(whole.parent), stop, TRUST, "hydra.run.dir=run", cwd=tmp_path, env=HERE)
    (tmp_path / "run").rename(tmp_path / "moved")
    second = train_process("resume=moved", TRUST, cwd=tmp_path, env=HERE)
    for answer, name in ((first, "run"), (second, "moved")):
        assert answer.code == 143, answer.text
        assert f"To go on: python -m medclf.train resume={name}" in answer.out
        assert "Traceback" not in answer.text
    assert json.loads((tmp_path / "moved/run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    saved = torch.load(tmp_path / "moved/checkpoints/last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["global_step"]) == (2, 14)
    answer = train_process("resume=moved", "~callbacks.stop", cwd=tmp_path, env=HERE)
    assert answer.code == 0, answer.text
    same(tmp_path / "moved", whole, but={2})


@posix
def test_a_notice_while_it_validates_keeps_the_epoch_before(whole, tmp_path):
    stop = "+callbacks.stop._target_=test_resume_run.TerminateInValidation"
    answer = train_process(*words(whole.parent), stop, TRUST, "hydra.run.dir=run", cwd=tmp_path, env=HERE)
    assert answer.code == 143, answer.text
    answer = train_process("resume=run", TRUST, cwd=tmp_path, env=HERE)
    assert answer.code == 0, answer.text
    same(tmp_path / "run", whole)


class TerminateInValidation(Callback):
    def on_validation_batch_start(self, trainer, *_):
        if trainer.current_epoch == 2 and trainer.ckpt_path is None:
            os.kill(os.getpid(), signal.SIGTERM)


class Interrupt(Callback):
    """Ctrl-C in the third epoch of a run that is not resumed."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == 2 and not trainer.ckpt_path:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(train, tmp_path):
    """A run that was interrupted in its third epoch."""
    write = ["callbacks.last_checkpoint.seconds=0", f"+callbacks.stop._target_={__name__}.Interrupt", TRUST]
    before = signal.getsignal(signal.SIGINT)
    try:
        answer = train(*TINY_PHANTOM, *write, "trainer.max_epochs=4", "hydra.run.dir=runs/phantom/first")
    finally:
        signal.signal(signal.SIGINT, before)
    assert answer.code == 130, answer.text
    return tmp_path / "runs/phantom/first"


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used_when_one_says_so(train, interrupted):
    checkpoints = interrupted / "checkpoints"
    content = (checkpoints / "last.ckpt").read_bytes()
    (checkpoints / "last.ckpt").write_bytes(content[: len(content) // 2])
    answer = train(f"resume={interrupted}", TRUST)
    assert answer.code == 2
    assert "last.ckpt: is damaged or not there" in answer.err
    assert "the one before it, of epoch 1, is whole" in answer.err
    answer = train(f"resume={interrupted}", TRUST, "resume_from=previous")
    assert answer.code == 0, answer.text
    assert json.loads((interrupted / "run.json").read_text(encoding="utf-8"))["status"] == "finished"


def test_a_run_without_its_configuration_cannot_be_resumed(train, interrupted):
    (interrupted / "config.yaml").unlink()
    answer = train(f"resume={interrupted}", TRUST)
    assert answer.code == 2
    assert "stopped before its configuration was saved; start the run again" in answer.err


def test_code_of_a_run_is_trusted_again_when_it_is_resumed(train, interrupted):
    answer = train(f"resume={interrupted}")
    assert answer.code == 2
    assert "callbacks.stop._target_=" in answer.err
    assert "add trust_code=true" in answer.err


def test_a_checkpoint_of_another_network_is_refused(train, interrupted):
    last = interrupted / "checkpoints/last.ckpt"
    saved = torch.load(last, weights_only=True)
    name = next(name for name in saved["state_dict"] if name.endswith("head.weight"))
    saved["state_dict"][name] = saved["state_dict"][name][:1]
    torch.save(saved, last)
    answer = train(f"resume={interrupted}", TRUST)
    assert answer.code == 2
    assert "last.ckpt: is of another network than the run's config.yaml tells: 1 of its weights differ" in answer.err


def test_the_run_last_at_work_is_gone_on_with(train, interrupted):
    answer = train("resume=last", TRUST)
    assert answer.code == 0, answer.text
    assert json.loads((interrupted / "run.json").read_text(encoding="utf-8"))["status"] == "finished"
    answer = train("resume=last", TRUST)
    assert answer.code == 2
    assert "no run below runs/ is unfinished" in answer.err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model=resnet18", "model.backbone="),
        ("dataset.image_size=48", "dataset.image_size=48: the run has 32"),
        ("seed=3", "seed=3: the run has 0"),
        ("dataset.splits.seed=5", "another split of the images, or other images"),
        ("dataset.phantom.seed=5", "other"),
    ],
)
def test_another_network_or_other_images_are_refused(train, interrupted, word, expected):
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file() and path.suffix != ".log"}
    answer = train(f"resume={interrupted}", TRUST, word)
    assert answer.code == 2, answer.text
    assert expected in answer.err
    kept = {path: path.read_bytes() for path in before if path.name != "run.json" and ".hydra" not in path.parts}
    assert kept == {path: before[path] for path in kept}


def test_two_processes_do_not_go_on_with_one_run(train, interrupted):
    from medclf.utils.run_folder import Run

    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from filelock import FileLock; l = FileLock(sys.argv[1]); l.acquire(); "
         "print('held', flush=True); sys.stdin.read()", str(interrupted / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline()
    try:
        answer = train(f"resume={interrupted}", TRUST)
    finally:
        holder.kill()
        holder.wait()
    assert answer.code == 2
    assert "another process is at work there" in answer.err
    assert Run(interrupted).status == "interrupted"


def test_a_full_disk_is_said_and_what_was_saved_is_kept(train, tmp_path, monkeypatch):
    from medclf.utils import atomic_write

    sync = os.fsync

    def full(handle):
        if (tmp_path / "run/checkpoints/previous.ckpt").exists():  # from the second last.ckpt on
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(atomic_write.os, "fsync", full)
    words = [*TINY_PHANTOM, "callbacks.last_checkpoint.seconds=0", "trainer.max_epochs=4"]
    answer = train(*words, "hydra.run.dir=run", f"dataset.store={tmp_path / 'store'}")
    assert answer.code == 2
    assert "run: cannot be written: no space left; earlier checkpoints are kept; free some, then: " in answer.err
    assert not list((tmp_path / "run/checkpoints").glob(".*"))
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["epoch"] >= 0
    monkeypatch.setattr(atomic_write.os, "fsync", sync)
    assert train("resume=run").code == 0


def test_a_run_folder_that_vanishes_is_one_message(train, tmp_path, monkeypatch):
    from medclf.training.checkpointing import LastCheckpoint

    save = LastCheckpoint._save

    def vanish(self, trainer):
        if trainer.current_epoch == 1:
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "run").write_text("a file stands there now", encoding="utf-8")
        save(self, trainer)

    monkeypatch.setattr(LastCheckpoint, "_save", vanish)
    answer = train(*TINY_PHANTOM, "callbacks.last_checkpoint.seconds=0", "hydra.run.dir=run")
    assert answer.code == 2
    assert "cannot be written" in answer.err
