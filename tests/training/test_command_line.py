"""Runs typed for real: sweeps, Ctrl-C and going on, two at once, two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import TINY_PHANTOM, train_process
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["status"])


def test_sweep(tmp_path):
    answer = train_process("-m", "model=cnn,resnet18", "seed=0,1", *TINY_PHANTOM, "trainer.max_epochs=1", cwd=tmp_path)
    assert answer.code == 0, answer.text
    sweep = tmp_path / "runs" / "sweeps"
    jobs = {path.parent.relative_to(sweep).as_posix() for path in sweep.rglob("metrics.json")}
    folders = sorted(job.rpartition("_")[0] for job in jobs)
    assert folders == [f"phantom/{model}/seed{seed}" for model in ("cnn", "resnet18") for seed in (0, 1)]
    board = EventMultiplexer().AddRunsFromDirectory(str(sweep))
    board.Reload()
    assert set(board.Runs()) == jobs
    assert len({(sweep / job / "splits.csv").read_bytes() for job in jobs}) == 1


def test_two_runs_at_once(tmp_path):
    command = [sys.executable, "-m", "medclf.train", *TINY_PHANTOM, "trainer.max_epochs=1"]
    running = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    runs = list((tmp_path / "runs" / "phantom" / "cnn").iterdir())
    assert len(runs) == 2
    assert (runs[0] / "predictions.csv").read_bytes() == (runs[1] / "predictions.csv").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to a process")
def test_ctrl_c_and_going_on(tmp_path):
    command = [sys.executable, "-m", "medclf.train", *TINY_PHANTOM, "trainer.max_epochs=10000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 200
        while not list((tmp_path / "runs").rglob("last.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 130
    (run,) = (path.parent for path in tmp_path.rglob("run.json"))
    assert status(run) == "interrupted"
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    shown = run.relative_to(tmp_path).as_posix()
    assert f"To go on: python -m medclf.train resume={shown}" in out
    assert "Traceback" not in out

    epochs = last["epoch"] + 3
    answer = train_process(f"resume={shown}", f"trainer.max_epochs={epochs}", cwd=tmp_path)
    assert answer.code == 0, answer.text
    assert status(run) == "finished"
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == epochs - 1
    assert [path.parent for path in tmp_path.rglob("run.json")] == [run]

    again = train_process(f"resume={shown}", cwd=tmp_path)
    assert again.code == 2
    assert "this run has finished" in again.err


def test_two_processes_see_every_image_once(tmp_path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.balanced_sampling=true"]
    answer = train_process(*TINY_PHANTOM, *two, cwd=tmp_path)
    assert answer.code == 0, answer.text
    (run,) = (path.parent for path in tmp_path.rglob("run.json"))
    predictions, splits = pd.read_csv(run / "predictions.csv"), pd.read_csv(run / "splits.csv")
    assert sorted(predictions["path"]) == sorted(splits[splits["split"] != "train"]["path"])
    assert status(run) == "finished"
