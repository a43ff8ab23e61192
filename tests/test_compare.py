import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medclf import compare as entry
from medclf.evaluation import operating_point
from medclf.evaluation.predictions import predictions_table, save_predictions

FEW = ("--resamples", "200")
TWO = ("NORMAL", "PNEUMONIA")
FOUR = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")


def predictions(strength=1.0, seed=0, classes=TWO, n=80, validation=40):
    target = np.arange(n + validation) % len(classes)
    shape = (n + validation, len(classes))
    scores = np.random.default_rng(9).normal(size=shape) + np.random.default_rng(seed).normal(size=shape)
    odds = np.exp(scores + strength * np.eye(len(classes))[target])
    images = pd.DataFrame(
        {
            "path": [f"{index}.png" for index in range(n + validation)],
            "group": [f"p{index}" for index in range(n + validation)],
            "split": ["test"] * n + ["val"] * validation,
            "class": np.array(classes)[target],
        }
    )
    return predictions_table(images, odds / odds.sum(1, keepdims=True), list(classes))


def make_run(folder, model="cnn", seed=0, table=None, status="finished", threshold=0.5, stored=None, positive=None):
    table = predictions(seed=seed) if table is None else table
    folder = Path(folder)
    folder.mkdir(parents=True)
    save_predictions(table, folder / "predictions.csv")
    (folder / "run.json").write_text(json.dumps({"status": status}), encoding="utf-8")
    config = f"seed: {seed}\nmodel: {{name: {model}}}\ndataset: {{positive: {positive or 'null'}}}\n"
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    point = {"rule": "half", "threshold": threshold, "words": f"{threshold}: as stored"}
    two = len([name for name in table if name.startswith("prob_")]) == 2
    point = point if two else {"rule": "most probable", "threshold": None, "words": "the most probable class"}
    stored = {"positive": "PNEUMONIA" if two else None, "operating_point": point} if stored is None else stored
    (folder / "metrics.json").write_text(json.dumps(stored), encoding="utf-8")
    return folder.as_posix()


@pytest.fixture
def compare(command):
    """Type ``python -m medclf.compare`` in a fresh folder."""
    return partial(command, entry.main)


def test_the_form_of_the_published_table(compare):
    runs = make_run("cnn", "cnn"), make_run("resnet", "resnet50", table=predictions(2.5, 1))
    answer = compare(*runs, *FEW, "--output", "out")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "- **Classes:** `{'NORMAL': 0, 'PNEUMONIA': 1}`"
    assert lines[1] == "- **Test Data Size:** `80`"
    assert lines[3:5] == ["| Metric | cnn | resnet50 |", "| --- | --- | --- |"]
    rows = ["Accuracy", "Recall (PNEUMONIA)", "Precision (PNEUMONIA)", "F1 Score (PNEUMONIA)", "AUROC"]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[5:11]] == [*rows, "Balanced accuracy"]
    table = predictions().query("split == 'test'")
    right = (table["true_class"] == table["predicted_class"]).mean()
    assert lines[5].startswith(f"| Accuracy | {right:.4f} [0.")
    assert "resnet50 is better: accuracy higher by" in answer.out
    assert "another seed may turn the order" in answer.out
    assert "80 test images of 80 patients" in answer.out
    assert "Holm (1979); metrics are not corrected for each other: choose one before you look" in answer.out


def test_of_four_classes_the_means_are_weighted(compare):
    tables = [predictions(1, 0, FOUR), predictions(2, 1, FOUR)]
    runs = [make_run(name, name, table=table) for name, table in zip(("cnn", "resnet50"), tables, strict=True)]
    lines = compare(*runs, *FEW).out.splitlines()
    assert lines[0] == "- **Classes:** `{'COVID': 0, 'Lung_Opacity': 1, 'Normal': 2, 'Viral Pneumonia': 3}`"
    titles = [line.split(" | ")[0].removeprefix("| ") for line in lines[5:11]]
    weighted = ["Recall (weighted)", "Precision (weighted)", "F1 Score (weighted)"]
    assert titles == ["Accuracy", *weighted, "AUROC (macro)", "Balanced accuracy"]
    values = [[cell[:6] for cell in line.split(" | ")[1:]] for line in lines[5:7]]
    assert values[0] == values[1]  # recall weighted by the classes' images is accuracy


def test_what_is_written(compare):
    runs = make_run("cnn", "cnn"), make_run("resnet", "resnet50", table=predictions(2.5, 1))
    answer = compare(*runs, *FEW, "--metrics", "accuracy,brier")
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
    first, again, other = (compare(*runs, *FEW, "--output", name, "--seed", seed).out for name, seed in
                           (("a", "0"), ("b", "0"), ("c", "1")))  # fmt: skip
    assert first.replace("Written to a", "Written to b") == again
    assert first.replace("Written to a", "Written to c").replace("seed 0", "seed 1") != other


def test_tables_of_anybody_are_compared(compare):
    for name, strength in (("theirs", 0.5), ("ours", 2.5)):
        table = predictions(strength).query("split == 'test'")
        columns = {"prob_NORMAL": "logit_NORMAL", "prob_PNEUMONIA": "logit_PNEUMONIA"}
        odds = table[list(columns)].apply(np.log).rename(columns=columns)
        pd.concat([table[["path", "true_class"]], odds], axis=1).to_csv(f"{name}.csv", index=False)
    answer = compare("theirs.csv", "ours.csv", *FEW, "--positive", "NORMAL")
    assert "| Metric | theirs | ours |" in answer.out
    assert "Recall (NORMAL)" in answer.out
    assert "ours is better: accuracy higher" in answer.out


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ((("cnn", 0), ("resnet50", 0)), "cnn | resnet50"),
        ((("cnn", 0), ("cnn", 1), ("resnet50", 0)), "cnn seed 0 | cnn seed 1 | resnet50"),
        ((("cnn", 0), ("cnn", 0)), "cnn seed 0 run0 | cnn seed 0 run1"),
    ],
)
def test_names_are_as_short_as_they_can_be(compare, runs, shown):
    folders = [make_run(f"run{at}", model, seed) for at, (model, seed) in enumerate(runs)]
    assert f"| Metric | {shown} |" in compare(*folders, *FEW, "--metrics", "accuracy").out


def test_runs_without_a_configuration_have_their_folders_name(compare):
    folders = make_run("first/run"), make_run("second/run", seed=1)
    for folder in folders:
        Path(folder, "config.yaml").unlink()
    assert "| Metric | first/run | second/run |" in compare(*folders, *FEW, "--metrics", "accuracy").out


def test_names_of_files_are_made_unique(compare):
    make_run("a"), make_run("b", seed=1)
    answer = compare("a/predictions.csv", "b/predictions.csv", *FEW, "--metrics", "accuracy")
    assert "| Metric | a/predictions | b/predictions |" in answer.out


def test_several_seeds_of_each_are_not_warned_of(compare):
    folders = [make_run(f"{model}{seed}", model, seed) for model in ("cnn", "resnet50") for seed in (0, 1)]
    answer = compare(*folders, *FEW, "--metrics", "accuracy")
    assert "another seed" not in answer.out
    assert "p (Holm)" in answer.out
    assert answer.out.count("## ") == 6


def test_each_run_has_the_threshold_that_it_chose(compare):
    runs = make_run("a", "cnn"), make_run("b", "resnet50", table=predictions(), threshold=0.9)
    answer = compare(*runs, *FEW, "--metrics", "accuracy,sensitivity,auroc_macro", "--output", "out")
    rows = pd.read_csv("out/comparison.csv").set_index("metric")
    table = predictions().query("split == 'test' and true_class == 'PNEUMONIA'")
    assert rows["first_value"]["sensitivity"] == pytest.approx((table["prob_PNEUMONIA"] >= 0.5).mean())
    assert rows["second_value"]["sensitivity"] == pytest.approx((table["prob_PNEUMONIA"] >= 0.9).mean())
    assert rows["difference"]["auroc_macro"] == 0
    assert "- resnet50: b; 0.9: as stored" in answer.out


def test_a_rule_for_runs_that_bring_none(compare):
    make_run("a")
    answer = compare("a", make_run("old", "resnet50", 1, stored={}), *FEW, "--operating-point", "youden")
    assert "- cnn: a; 0.5: as stored" in answer.out
    assert "the largest Youden index" in answer.out
    assert "on validation (n = 40)" in answer.out
    assert entry.RULES == operating_point.RULES


def test_an_older_runs_positive_class_is_that_of_its_configuration(compare):
    runs = [make_run(name, name, stored={}, positive="NORMAL") for name in ("cnn", "resnet50")]
    assert "Recall (NORMAL)" in compare(*runs, *FEW).out


def test_too_few_resamples_for_so_many_pairs_are_said(compare):
    runs = [make_run(f"{seed}", "cnn", seed) for seed in range(3)]
    answer = compare(*runs, "--resamples", "100", "--metrics", "brier")
    assert "100 resamples are too few for 3 pairs" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "a: is one run, and a comparison needs two or more"),
        (["a", "nowhere"], "nowhere: there is no such run folder, and no such file"),
        (["a", "./b/../a"], "are the same run, given twice"),
        (["a", "a/predictions.csv"], "are the same run, given twice"),
        (["a", "running"], "running: this run has not finished, its status is 'running'"),
        (["a", "failed"], "failed: this run has not finished, its status is 'failed'"),
        (["a", "norun"], "norun: is no run folder (run.json is not there)"),
        (["a", "nopredictions"], "nopredictions: this run has no predictions.csv"),
        (["a", "damaged"], "cannot be read"),
        (["a", "other"], "3 images (77.png, 78.png, 79.png) of 80 only in cnn"),
        (["a", "four"], "different classes: NORMAL, PNEUMONIA; COVID"),
        (["a", "positive"], "the positive class differs: cnn: PNEUMONIA, resnet50: NORMAL"),
        (["a", "b", "--positive", "NORMAL"], "the positive class differs: cnn: PNEUMONIA"),
        (["csv.csv", "b/predictions.csv", "--positive", "PNEUMONA"], "did you mean 'PNEUMONIA'?"),
        (["a", "b", "--operating-point", "youden"], "every one of these runs brings its own"),
        (["a", "b", "--operating-point", "best"], "invalid choice: 'best'"),
        (["a", "b", "--metrics", "acuracy"], "did you mean 'accuracy'?"),
        (["a", "b", "--resamples", "10"], "'10' is no whole number of 100 or more"),
        (["a", "b", "--output", "a"], "--output a: already holds something"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_what_is_refused(compare, arguments, message):
    make_run("a"), make_run("b", "resnet50", 1)
    make_run("running", status="running"), make_run("failed", status="failed")
    make_run("other", "resnet50", table=predictions(n=77, validation=0))
    make_run("four", table=predictions(classes=FOUR))
    make_run("positive", "resnet50", stored={"positive": "NORMAL"})
    Path("norun").mkdir()
    Path(make_run("nopredictions"), "predictions.csv").unlink()
    Path(make_run("damaged"), "metrics.json").write_text("{", encoding="utf-8")
    save_predictions(predictions(), Path("csv.csv"))
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

    monkeypatch.setattr(entry, "read", interrupted)
    answer = compare(make_run("a"), make_run("b", seed=1))
    assert (answer.code, answer.err.strip()) == (130, "interrupted")


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
    assert "RUN" in done.stdout and "--operating-point" in done.stdout
