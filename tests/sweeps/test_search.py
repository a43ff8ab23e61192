"""Searches typed for real: they end, go on, survive a broken trial, and leave what one can type again."""

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import TINY_PHANTOM, train_process
from omegaconf import OmegaConf
from PIL import Image

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper._impl")

ONE_EPOCH = [*TINY_PHANTOM, "trainer.max_epochs=1"]


def searched(root):
    """The folder of the only search below, and its table."""
    (folder,) = (root / "runs/searches").iterdir()
    return folder, pd.read_csv(folder / "trials.csv", keep_default_na=False, na_values=[""])


def monitor_value(run):
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))["monitor_value"]


def records(root):
    return [json.loads(path.read_text(encoding="utf-8"))["status"] for path in root.rglob("run.json")]


def test_grid_goes_on_survives_a_broken_trial_and_its_best_can_be_typed_again(train, tmp_path):
    words = ["hpo=grid", "optimizer.lr=0.001,1e30", "optimizer.weight_decay=0.01", "augmentation=flip", *ONE_EPOCH]
    first = train("-m", *words, "hydra.sweeper.n_trials=1")
    assert first.code == 0, first.text
    again = train("-m", *words)
    assert again.code == 2
    assert "1 trials done, 1 to do" in again.out
    assert "This job broke, the others go on: the training loss of epoch 0" in again.out
    assert "error: 1 of 1 jobs did not finish" in again.err
    folder, table = searched(tmp_path)
    assert list(zip(table["optimizer.lr"], table["state"], strict=True)) == [(0.001, "complete"), (1e30, "fail")]
    assert table["value"].isna().tolist() == [False, True]
    with Image.open(folder / "search.png") as picture:
        assert picture.width > 1000

    shown = folder.relative_to(tmp_path).as_posix()
    assert f"python -m medclf.train --config-dir {shown} experiment=best" in again.out
    best = table.loc[table["value"].idxmax()]
    typed = train("--config-dir", shown, "experiment=best", "evaluation=quick", "hydra.run.dir=best")
    assert typed.code == 0, typed.text
    assert monitor_value(tmp_path / "best") == best["value"]
    saved = OmegaConf.load(tmp_path / "best" / "config.yaml")
    assert (saved.optimizer.lr, saved.optimizer.weight_decay, saved.augmentation.name) == (0.001, 0.01, "flip")
    assert (saved.dataset.image_size, saved.callbacks.early_stopping.patience) == (32, 8)


def test_random_draws_a_new_point_when_it_goes_on(train, tmp_path):
    for count in (1, 2):
        answer = train("-m", "hpo=random", "scheduler=none", *ONE_EPOCH, f"hydra.sweeper.n_trials={count}")
        assert answer.code == 0, answer.text
    _, table = searched(tmp_path)
    assert (len(table), table["optimizer.lr"].nunique()) == (2, 2)
    assert list(table["best_so_far"]) == list(table["value"].cummax())
    assert "augmentation" in table
    assert "scheduler" not in table  # it was typed, so it is not searched


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_search_goes_on_with_the_trial_that_it_was_at(train, tmp_path):
    kill = f"+callbacks.kill={{_target_: helpers.kill_callback.Kill, epoch: 2, done: '{tmp_path / 'killed'}'}}"
    words = ["-m", "hpo=bayes", *TINY_PHANTOM, "trainer.max_epochs=4", "callbacks.last_checkpoint.seconds=0", kill]
    words += ["hydra.sweeper.n_trials=2", "trust_code=true"]
    killed = train_process(*words, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[1])})
    assert killed.code == -signal.SIGKILL, killed.text
    assert records(tmp_path) == ["running"]
    answer = train(*words)
    assert answer.code == 0, answer.text
    assert "0 trials done, 2 to do" in answer.out
    assert answer.out.count("Gone on with: ") == 1
    assert records(tmp_path) == ["finished"] * 2
    _, table = searched(tmp_path)
    assert list(table["state"]) == ["complete"] * 2


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_side_by_side(tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher")
    words = [f"launcher={launcher}", "hpo=random", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"]
    answer = train_process("-m", *words, *ONE_EPOCH, cwd=tmp_path)
    assert answer.code == 0, answer.text
    assert records(tmp_path) == ["finished"] * 2
    assert answer.out.count("| phantom |") == 2  # the jobs found the list of the sweep
    begun = [json.loads(path.read_text(encoding="utf-8"))["started"] for path in tmp_path.rglob("run.json")]
    ended = [json.loads(path.read_text(encoding="utf-8"))["ended"] for path in tmp_path.rglob("run.json")]
    assert max(begun) <= min(ended)
    _, table = searched(tmp_path)
    assert list(table["state"]) == ["complete"] * 2
