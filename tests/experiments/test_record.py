"""The table of experiments/ comes from kept runs, and says what they say."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TINY, train_process
from helpers.dataset_layouts import busi

SCRIPT = Path(__file__).parents[2] / "experiments" / "record.py"


@pytest.fixture(scope="module")
def record():
    spec = importlib.util.spec_from_file_location("record", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("record")
    busi(cwd / "lies_here")
    words = ["experiment=busi_cnn", "dataset.root=lies_here", *TINY, "trainer.max_epochs=1"]
    answer = train_process("-m", *words, "seed=0,1", "hydra.sweep.dir=sweep", cwd=cwd)
    assert answer.code == 0, answer.text
    return sorted(path.parent for path in cwd.rglob("metrics.json"))


def test_the_table_is_made_of_the_runs(record, runs, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{record.BEGIN}\nold\n{record.END}\nafter\n", encoding="utf-8")
    record.main([*map(str, runs), "--folder", str(tmp_path)])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    accuracy = [json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]["accuracy"] for run in runs]
    (row,) = [line for line in text.splitlines() if line.startswith("| [busi_cnn")]
    assert f"| {np.mean(accuracy):.3f} [" in row
    assert f"| 2 ({np.std(accuracy, ddof=1):.3f}) |" in row
    assert "accuracy 0.55, precision 0.55, recall 0.55" in row
    assert "- pneumonia_cnn (published: accuracy 0.7756" in text
    assert "experiment=busi_cnn dataset.batch_size=8" in text
    assert "seed=S` for S = 0, 1" in text
    assert "lies_here" not in json.dumps([json.loads(path.read_text()) for path in tmp_path.rglob("run.json")])
    assert len(list((tmp_path / "figures").glob("busi_cnn*.png"))) == 1
    kept = sorted(path.name for path in tmp_path.rglob("predictions.csv"))
    assert len(kept) == 2
    record.main(["--folder", str(tmp_path)])
    assert readme.read_text(encoding="utf-8") == text


def test_a_run_that_did_not_finish_and_one_of_no_recipe_are_refused(record, runs, finished, tmp_path):
    (tmp_path / "README.md").write_text("", encoding="utf-8")
    broken = tmp_path / "broken"
    shutil.copytree(runs[0], broken)
    (broken / "metrics.json").unlink()
    for folder, words in ((broken, "is no run folder"), (finished[0], "without experiment=NAME")):
        with pytest.raises(SystemExit) as stop:
            record.main([str(folder), "--folder", str(tmp_path)])
        assert words in str(stop.value)
