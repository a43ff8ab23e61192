import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from helpers.run_folders import FOUR, make_run, predictions

from medclf import compare as entry
from medclf.comparison import compare as comparison
from medclf.config.command_schemas import RuleName
from medclf.evaluation import operating_point

FEW = ("resamples=200",)


@pytest.fixture
def compare(command):
    """Type ``python -m medclf.compare`` in a fresh folder."""
    return partial(command, entry.main)


def test_what_is_written(compare):
    runs = make_run("cnn", "cnn"), make_run("resnet", "resnet50", table=predictions(2.5, 1))
    answer = compare(*runs, *FEW, "metrics=[accuracy,brier]")
    (folder,) = Path("runs/compare").iterdir()
    assert f"Written to {folder.as_posix()}: comparison.csv, comparison.md, differences.png, table.csv" in answer.out
    assert answer.out.startswith((folder / "comparison.md").read_text(encoding="utf-8"))
    rows = pd.read_csv(folder / "comparison.csv")
    assert list(rows["metric"]) == ["accuracy", "brier"]
    assert list(rows["test"]) == ["exact McNemar", "bootstrap of patients"]
    assert rows["difference"].tolist() == pytest.approx((rows["second_value"] - rows["first_value"]).tolist())
    assert (rows["low"] < rows["difference"]).all() and (rows["difference"] < rows["high"]).all()
    assert rows["conclusion"][0].startswith("resnet50 is better")
    table = pd.read_csv(folder / "table.csv")
    assert set(table["run"]) == {"cnn", "resnet50"}
    assert {"accuracy", "auroc_macro", "sensitivity"} <= set(table["metric"])
    assert (folder / "differences.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_gives_the_same_figures(compare):
    runs = make_run("cnn", "cnn"), make_run("resnet", "resnet50", table=predictions(1.5, 1))
    first, again, other = (compare(*runs, *FEW, f"output={name}", f"seed={seed}").out for name, seed in
                           (("a", "0"), ("b", "0"), ("c", "1")))  # fmt: skip
    assert first.replace("Written to a", "Written to b") == again
    assert first.replace("Written to a", "Written to c").replace("seed 0", "seed 1") != other


def test_tables_of_anybody_are_compared(compare):
    for name, strength in (("theirs", 0.5), ("ours", 2.5)):
        table = predictions(strength).query("split == 'test'")
        columns = {"prob_NORMAL": "logit_NORMAL", "prob_PNEUMONIA": "logit_PNEUMONIA"}
        odds = table[list(columns)].apply(np.log).rename(columns=columns)
        pd.concat([table[["path", "true_class"]], odds], axis=1).to_csv(f"{name}.csv", index=False)
    answer = compare("theirs.csv", "ours.csv", *FEW, "positive=NORMAL")
    assert "| Metric | theirs | ours |" in answer.out
    assert "Recall (NORMAL)" in answer.out
    assert "ours is better: accuracy higher" in answer.out


def test_the_options_reach_the_comparison(compare):
    runs = make_run("a", stored={}), make_run("b", "resnet50", 1, stored={})
    options = "metrics=auroc_macro", "positive=NORMAL", "operating_point=youden", "seed=3"
    answer = compare(*runs, *FEW, *options)
    assert "Recall (NORMAL)" in answer.out
    assert "the largest Youden index" in answer.out
    assert "200 resamples of seed 3" in answer.out
    assert "- auroc_macro: " in answer.out and "- accuracy: " not in answer.out
    assert get_args(RuleName) == operating_point.RULES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "a: is one run, and a comparison needs two or more"),
        (["a", "nowhere"], "nowhere: there is no such run folder, and no such file"),
        (["a", "other"], "3 images (77.png, 78.png, 79.png) of 80 only in cnn"),
        (["a", "four"], "different classes: NORMAL, PNEUMONIA; COVID"),
        (["a", "b", "positive=NORMAL"], "the positive class differs: cnn: PNEUMONIA"),
        (["a", "b", "operating_point=youden"], "every one of these runs brings its own"),
        (["a", "b", "operating_point=best"], "operating_point=best: must be one of 'half', 'youden'"),
        (["a", "b", "metrics=acuracy"], "did you mean 'accuracy'?"),
        (["a", "b", "resamples=10"], "resamples=10: must be at least 100"),
        (["a", "b", "output=a"], "output=a: already holds something"),
        (["a", "b", "output=a/run.json/out", *FEW], "output=a/run.json/out: cannot be written"),
        (["a", "b", "output=compared.csv"], "output=compared.csv: names a folder, and this is the name of a file; use"),
        (["a", "b", "--output", "out"], "--output: options are typed as key=value: output=out"),
        (["a", "b", "metrics=accuracy,brier"], "write several in brackets: 'metrics=[accuracy,brier]'"),
        (["a", "runs=b"], "runs: a is typed without this key"),
        (["output=out"], "runs: none is named; type one or more RUN"),
    ],
)
def test_what_is_refused(compare, arguments, message):
    make_run("a"), make_run("b", "resnet50", 1)
    make_run("other", "resnet50", table=predictions(n=77, validation=0))
    make_run("four", table=predictions(classes=FOUR))
    answer = compare(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert "Traceback" not in answer.text
    assert answer.out == ""
    assert not Path("runs").exists()


def test_ctrl_c(compare, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "read_sources", interrupted)
    answer = compare(make_run("a"), make_run("b", seed=1))
    assert (answer.code, answer.err.strip()) == (130, "interrupted")


def test_a_reader_that_stops_early_is_no_error(compare):
    command = [sys.executable, "-m", "medclf.compare", make_run("a"), make_run("b", "resnet50", 1), *FEW]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*command, "output=out"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("out/comparison.md").is_file()


def typed(code, cwd):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_no_torch_is_imported(compare):
    arguments = ["compare", make_run("a"), make_run("b", "resnet50", 1), *FEW]
    code = f"""
import sys
sys.argv = {arguments}
from medclf.compare import main
main()
assert not {{"torch", "lightning", "torchvision", "hydra"}} & set(sys.modules)
"""
    done = typed(code, Path.cwd())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_help_imports_no_pandas(tmp_path):
    code = """
import sys
from medclf.compare import main
sys.argv = ["compare", "--help"]
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
assert not {"pandas", "numpy", "matplotlib"} & set(sys.modules)
"""
    done = typed(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "RUN ..." in done.stdout and "operating_point=null" in done.stdout
