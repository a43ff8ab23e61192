"""A compiled backbone: training goes as without."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import TINY_PHANTOM
from torch._dynamo.utils import counters


def probabilities(folder):
    table = pd.read_csv(folder / "predictions.csv")
    return table[[name for name in table if name.startswith("prob_")]].to_numpy()


def names(folder):
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return list(best), list(torch.load(folder / "checkpoints" / "best.pth", weights_only=True))


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_the_same_curves_probabilities_and_names(train, tmp_path):
    folders = []
    counters.clear()
    for name, word in (("compiled", "model.compile=true"), ("plain", "model.compile=false")):
        answer = train(*TINY_PHANTOM, word, f"hydra.run.dir={name}")
        assert answer.code == 0, answer.text
        assert ("The backbone is compiled" in answer.out) == (name == "compiled")
        assert counters["frames"]["ok"] > 0
        folders.append(tmp_path / name)
    curves = [pd.read_csv(folder / "history.csv")[["train/loss", "val/loss"]] for folder in folders]
    pd.testing.assert_frame_equal(*curves, rtol=0, atol=1e-4)
    np.testing.assert_allclose(*map(probabilities, folders), rtol=0, atol=1e-4)
    assert names(folders[0]) == names(folders[1])
    assert not any("_orig_mod" in name for found in names(folders[0]) for name in found)


def test_without_a_compiler_it_is_one_message(train, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no_such_c++")
    answer = train(*TINY_PHANTOM, "model.compile=true")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("error: model.compile=true: torch.compile needs a C++ compiler, and there is no no_such_c++")
    assert not list(tmp_path.iterdir())
