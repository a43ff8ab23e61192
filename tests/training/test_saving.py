"""best.pth and best.json: what the guide shows works, with neither medclf nor Hydra nor Lightning."""

import ast
import csv
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import TINY_PHANTOM, train_process

import medclf

GUIDE = Path(medclf.__file__).parent / "guide" / "using_the_model.md"
ALONE = "import sys\nsys.modules.update(dict.fromkeys(['medclf', 'hydra', 'lightning', 'omegaconf']))\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("resnet")
    answer = train_process(*TINY_PHANTOM, "model=resnet18", "trainer.max_epochs=1", "hydra.run.dir=run", cwd=cwd)
    assert answer.code == 0, answer.text
    return cwd / "run"


def test_the_lines_of_the_guide_give_the_probabilities_of_the_run(run):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    with (run / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (root,) = run.parent.glob("data/phantom/*")
    for row in rows[:1]:
        lines = ALONE + code.replace("RUN", run.as_posix()).replace("IMAGE", (root / row["path"]).as_posix())
        done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
        printed = ast.literal_eval(done.stdout)
        expected = {name: float(row[f"prob_{name}"]) for name in ("organ_absent", "organ_present")}
        assert printed == pytest.approx(expected, abs=1e-5)


def test_what_one_must_know_is_beside_the_weights(run):
    about = json.loads((run / "checkpoints/best.json").read_text(encoding="utf-8"))
    assert about["classes"] == ["organ_absent", "organ_present"]
    assert (about["positive"], about["threshold"], about["activation"]) == ("organ_present", 0.5, "softmax")
    form = about["preprocessing"]
    assert (form["image_size"], form["channels"], form["resize"], form["clahe"]) == (32, 1, "squash", None)
    assert form["mean"] == pytest.approx([0.449], abs=1e-3)
    assert about["dataset"] == "phantom"
    assert about["split_hash"] == json.loads((run / "run.json").read_text(encoding="utf-8"))["split_hash"]
    assert about["split_hash"] == hashlib.sha256((run / "splits.csv").read_bytes()).hexdigest()[:12]
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert (about["epoch"], about["monitor_value"]) == (metrics["epoch"], metrics["monitor_value"])


def test_the_weights_are_those_of_the_best_checkpoint_without_its_optimizer(run):
    weights = torch.load(run / "checkpoints/best.pth", weights_only=True)
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert len(weights) == len(best)
    for name, value in weights.items():
        ours = f"network.head.{name[3:]}" if name.startswith("fc.") else f"network.backbone.network.{name}"
        assert torch.equal(value, best[ours])
        assert value.device.type == "cpu"


def test_training_goes_on_from_it_with_its_head_where_the_classes_are_as_many(run, tmp_path):
    weights = f"model.weights='{run / 'checkpoints/best.pth'}'"
    answer = train_process(*TINY_PHANTOM, "model=resnet18", weights, "trainer.fast_dev_run=1", cwd=tmp_path)
    assert answer.code == 0, answer.text
    assert "loaded the backbone (120 tensors) and the head (2)." in answer.out
