"""Sweeps that are stopped, broken or changed, and typed again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import TINY_PHANTOM, train_process

from medclf.data import build_image_table

ONE_EPOCH = [*TINY_PHANTOM, "trainer.max_epochs=1"]
DIVERGES = "optimizer.lr=1e30"


def records(folder):
    return {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("run.json")}


def statuses(folder):
    return sorted(record["status"] for record in records(folder).values())


def board(text):
    """The leaderboard's rows, cell by cell."""
    lines = [line for line in text.splitlines() if line.startswith("| phantom")]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder in which a sweep of one job was typed."""
    folder = tmp_path_factory.mktemp("swept")
    answer = train_process("-m", *ONE_EPOCH, "seed=0", cwd=folder)
    assert answer.code == 0, answer.text
    return folder


def test_finished_jobs_are_skipped_and_new_ones_run(train, tmp_path):
    first = train("-m", *ONE_EPOCH, "seed=0,1")
    assert first.code == 0, first.text
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ckpt")}
    again = train("-m", *ONE_EPOCH, "seed=0,1,2")
    assert again.code == 0, again.text
    assert (first.out.count("Finished before"), again.out.count("Finished before")) == (0, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert statuses(tmp_path) == ["finished"] * 3
    assert [row[3] for row in board(again.out)] == ["3"]


@pytest.mark.parametrize(
    ("word", "anew"),
    [
        ("optimizer.lr=0.002", True),
        ("dataset.splits.seed=1", True),
        ("dataset.phantom.seed=1", True),
        ("evaluation.resamples=300", True),
        ("dataset.store=elsewhere", False),
        ("dataset.num_workers=1", False),
        ("sweep.fail_fast=true", False),
    ],
)
def test_what_changes_the_outcome_makes_another_job(train, swept, tmp_path, word, anew):
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    answer = train("-m", *ONE_EPOCH, "seed=0", word)
    assert answer.code == 0, answer.text
    assert ("Finished before" in answer.out) != anew
    assert len(records(tmp_path)) == 1 + anew


def test_a_changed_image_makes_another_job(train, tmp_path):
    words = [*ONE_EPOCH, "dataset=folder", "dataset.root=images"]
    words = [word for word in words if "phantom" not in word]
    assert train(*ONE_EPOCH, "hydra.run.dir=first").code == 0
    phantom = next((tmp_path / "data/phantom").iterdir())
    phantom.rename(tmp_path / "images")
    assert train("-m", *words, "seed=0").code == 0
    assert "Finished before" in train("-m", *words, "seed=0").out
    images = sorted(path for path in (tmp_path / "images").rglob("*.png") if path.parent.name == "organ_absent")
    images[0].write_bytes(images[1].read_bytes())
    answer = train("-m", *words, "seed=0")
    assert answer.code == 0, answer.text
    assert "Finished before" not in answer.out


@pytest.fixture
def scans(monkeypatch):
    """The number of images in each scan that looks into images."""
    counts = []
    compute = build_image_table.compute_fingerprints

    def counted(root, paths, *rest):
        counts.append(len(paths))
        return compute(root, paths, *rest)

    monkeypatch.setattr(build_image_table, "compute_fingerprints", counted)
    return counts


def test_a_run_scans_its_images_once(train, scans):
    answer = train(*ONE_EPOCH)
    assert answer.code == 0, answer.text
    assert len(scans) == 1


def test_each_job_of_a_sweep_scans_the_images_of_its_own_dataset_once(train, scans, tmp_path):
    answer = train("-m", *ONE_EPOCH, "seed=0", "dataset.splits.seed=0,1")
    assert answer.code == 0, answer.text
    assert len(scans) == 2
    assert len({record["split_hash"] for record in records(tmp_path).values()}) == 2
    assert len({record["content_hash"] for record in records(tmp_path).values()}) == 1


def test_a_broken_job_is_shown_at_once_and_does_not_stop_the_others(train, tmp_path):
    answer = train("-m", *ONE_EPOCH, f"{DIVERGES},0.001")
    assert answer.code == 2
    broke = answer.out.index("This job broke, the others go on: the training loss of epoch 0")
    assert broke < answer.out.index("Tested once")
    assert statuses(tmp_path) == ["failed", "finished"]
    (error,) = tmp_path.rglob("error.txt")
    assert "has diverged" in error.read_text(encoding="utf-8")
    assert "Traceback" in error.read_text(encoding="utf-8")
    shown = error.parent.relative_to(tmp_path).as_posix()
    assert f"error: 1 of 2 jobs did not finish: {shown}; typed again" in answer.err
    assert f"- {shown}: failed: " in answer.out
    assert [row[3] for row in board(answer.out)] == ["1", "0 of 1"]


def test_a_sweep_that_fails_fast_ends_at_the_first_broken_job(train, tmp_path):
    answer = train("-m", *ONE_EPOCH, f"{DIVERGES},0.001", "sweep.fail_fast=true")
    assert answer.code == 2
    assert "sweep.fail_fast ends the sweep: the training loss of epoch 0" in answer.out
    assert statuses(tmp_path) == ["failed"]


def test_two_jobs_in_one_folder_are_refused(train, tmp_path):
    answer = train("-m", *ONE_EPOCH, "seed=0,1", "hydra.sweep.subdir=same")
    assert answer.code == 2
    assert "hydra.sweep.subdir: gives runs/sweeps/same to two different jobs" in answer.out
    (record,) = records(tmp_path).values()
    assert record["status"] == "finished"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_sweep_goes_on_where_it_was(train, tmp_path):
    kill = f"+callbacks.kill={{_target_: helpers.kill_callback.Kill, epoch: 2, done: '{tmp_path / 'killed'}'}}"
    words = ["-m", *TINY_PHANTOM, "seed=0,1", "trainer.max_epochs=4", "callbacks.last_checkpoint.seconds=0", kill]
    words.append("trust_code=true")
    killed = train_process(*words, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[1])})
    assert killed.code == -signal.SIGKILL, killed.text
    assert statuses(tmp_path) == ["running"]
    answer = train(*words)
    assert answer.code == 0, answer.text
    assert answer.out.count("Gone on with: ") == 1
    assert statuses(tmp_path) == ["finished"] * 2
    assert re.findall(r"\| phantom \| cnn \(best\) \|[^|]*\| 2 \|", answer.out)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to a process")
def test_ctrl_c_ends_the_whole_sweep(tmp_path):
    command = [sys.executable, "-u", "-m", "medclf.train", "-m", *TINY_PHANTOM, "seed=0,1", "trainer.max_epochs=100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while not list(tmp_path.rglob("best.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 130, out
    assert statuses(tmp_path) == ["interrupted"]


def test_a_folder_that_is_no_sweeps_is_left_alone(train, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine", encoding="utf-8")
    answer = train("-m", *ONE_EPOCH, "seed=0,1", "hydra.sweep.dir=used")
    assert answer.code == 2
    assert "hydra.sweep.dir=used: already holds something" in answer.err
