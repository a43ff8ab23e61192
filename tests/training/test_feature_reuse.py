"""Features computed once: training goes as without them."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import TINY_PHANTOM

from medclf.training import run as training_run

FROZEN = ["model=resnet18", "model.frozen=true", "trainer.precision=32-true", "trainer.max_epochs=3"]


@pytest.fixture
def both(train, tmp_path, monkeypatch):
    """Run with features reused and with images, and give the two folders."""

    def both(*words):
        folders = []
        for name in ("reused", "images"):
            if name == "images":
                monkeypatch.setattr(training_run, "plan_feature_reuse", lambda *_: None)
            answer = train(*TINY_PHANTOM, *FROZEN, *words, f"hydra.run.dir={name}", f"dataset.store=store_{name}")
            assert answer.code == 0, answer.text
            assert ("computed once" in answer.out) == (name == "reused")
            folders.append(tmp_path / name)
        return folders

    return both


def probabilities(folder):
    table = pd.read_csv(folder / "predictions.csv")
    return table[[name for name in table if name.startswith("prob_")]].to_numpy()


@pytest.mark.parametrize(
    "words",
    [
        ["augmentation=flip"],
        ["augmentation=none", "model/head=mlp", "dataset.balanced_sampling=true"],
        ["augmentation=flip", "model.unfreeze_at=2", "dataset.num_workers=1", "dataset.batch_size=12"],
        ["augmentation=flip", "callbacks=ema"],
    ],
)
def test_the_same_curves_and_probabilities(both, words):
    reused, images = both(*words)
    curves = [pd.read_csv(folder / "history.csv") for folder in (reused, images)]
    pd.testing.assert_frame_equal(*curves, atol=1e-4)
    np.testing.assert_allclose(probabilities(reused), probabilities(images), atol=1e-4)
    states = [
        torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for folder in (reused, images)
    ]
    assert list(states[0]) == list(states[1])
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], atol=1e-4, rtol=1e-4)
