"""The whole command on made-up runs."""

import json
import os
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.overviews import cut, make, make_folds
from helpers.run_folders import FOUR, table
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medclf import report as entry
from medclf.evaluation.predictions_io import load_predictions
from medclf.overview import overview

FEW = ("resamples=200",)
VOID = {"meta", "img", "br"}


@pytest.fixture
def report(command):
    """Type ``python -m medclf.report`` in a fresh folder."""
    return partial(command, entry.main)


def made(folder="out"):
    return {name: pd.read_csv(Path(folder) / f"{name}.csv") for name in ("settings", "runs")}


def test_what_is_written(report):
    for seed in range(3):
        make(f"all/cnn{seed}", seed=seed, value=0.8 + 0.01 * seed)
        make(f"all/deep/resnet{seed}", "resnet50", seed, 2.5, 0.9)
    answer = report("all", *FEW)
    assert answer.code == 0, answer.err
    (folder,) = Path("runs/report").iterdir()
    names = "comparisons.csv, figures, report.html, report.md, runs.csv, settings.csv"
    assert f"Written to {folder.as_posix()}: {names}" in answer.out
    assert answer.out.startswith((folder / "report.md").read_text(encoding="utf-8"))
    assert "6 of 6 runs have finished, of 2 settings." in answer.out
    frames = made(folder)
    settings = frames["settings"]
    assert settings["model"].tolist() == ["resnet50", "cnn"]
    assert settings["best"].tolist() == [True, False]
    assert settings["finished"].tolist() == [3, 3]
    assert settings[["test_images", "test_patients"]].to_numpy().tolist() == [[80, 80], [80, 80]]
    assert settings["validation"].tolist() == pytest.approx([0.9, 0.81])
    assert settings["validation_sd"][1] == pytest.approx(0.01)
    assert settings["training_seconds_median"].tolist() == [61, 61]
    runs = frames["runs"]
    stored = [json.loads(Path(run, "metrics.json").read_text())["test"]["auroc_macro"] for run in runs["run"]]
    assert runs["test_auroc_macro"].tolist() == pytest.approx(stored)
    own = runs[runs["number"] == 1]["test_auroc_macro"]
    assert settings["test_auroc_macro"][0] == pytest.approx(own.mean())
    assert settings["test_auroc_macro_sd"][0] == pytest.approx(own.std())
    pictures = {"forest_livers.png", "validation_and_test_livers.png", "validation_curves_livers.png", "data"}
    assert {file.name for file in (folder / "figures").iterdir()} == pictures


def test_the_best_is_chosen_on_validation_whatever_the_test_says(report):
    make("all/a", "cnn", strength=0.1, value=0.9)
    make("all/b", "resnet50", strength=3.0, value=0.8)
    answer = report("all", *FEW, "output=out")
    settings = made()["settings"]
    assert settings["test_accuracy"][0] < settings["test_accuracy"][1]
    assert settings["best"].tolist() == [True, False]
    assert "The best of livers by validation (val/auroc_macro 0.900), of 2 settings: #1 cnn." in answer.out
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Selected on validation, reported on test" in page
    assert "<th>test balanced accuracy</th>" in page and "<td>Balanced accuracy</td>" in page
    assert "test balanced_accuracy" in answer.out and "balanced_accuracy" not in page
    assert "The best is chosen by the mean on validation" in page


def test_of_a_loss_the_smallest_is_the_best_and_monitors_are_not_ranked_together(report):
    make("all/a", "one", value=0.3, monitor="val/loss")
    make("all/a1", "one", 1, value=0.3, monitor="val/loss")
    make("all/b", "two", value=0.2, monitor="val/loss")
    make("all/c", "three", value=0.9)
    answer = report("all", *FEW, "output=out")
    settings = made()["settings"]
    assert settings["model"].tolist() == ["three", "two", "one"]
    assert settings["best"].tolist() == [True, True, False]
    assert "(val/auroc_macro, val/loss), which cannot be ranked together: each has a best of its own" in answer.out
    assert "The settings of livers have 1 to 2 finished runs: the mean of few is moved by luck" in answer.out
    comparisons = pd.read_csv("out/comparisons.csv")
    assert set(zip(comparisons["best"], comparisons["setting"], strict=True)) == {(2, 3)}


def test_unfinished_and_damaged_runs_are_listed_and_the_others_reported(report):
    make("all/good")
    for name, status in (("failed", "failed"), ("killed", "running")):
        record = make(f"all/{name}", seed=1) / "run.json"
        record.write_text(json.dumps({"status": status, "error": "ValueError: <odd> | thing"} if name == "failed" else
                                     {"status": status}))  # fmt: skip
    (make("all/torn", seed=2) / "run.json").write_text('{"status": "fini')
    (make("all/holed", seed=3) / "metrics.json").write_text('{"monitor": "val/loss"}')
    (make("all/cut", seed=4) / "predictions.csv").write_text("path,true_class\n")
    (make("all/gone", seed=5) / "predictions.csv").unlink()
    (make("all/config", seed=6) / "config.yaml").write_text("a: [")
    trial = make("all/trial", seed=7)
    (trial / "metrics.json").unlink(), (trial / "predictions.csv").unlink()
    answer = report("all", *FEW, "output=out")
    assert answer.code == 0, answer.err
    assert "1 of 9 runs have finished" in answer.out
    for line in (
        "all/failed: failed: ValueError: &lt;odd> | thing", "all/killed: running, or killed", "all/torn: damaged: ",
        "all/holed: damaged: all/holed/metrics.json: is no file of metrics of a run: 'test' is missing",
        "all/cut: damaged: all/cut/predictions.csv: has a header but no rows",
            "all/gone: damaged: all/gone/predictions.csv",
        "all/config: damaged: all/config/config.yaml: cannot be read",
        "all/trial: finished without results: it has no metrics.json",
    ):  # fmt: skip
        assert f"- {line}" in answer.out
    runs = made()["runs"]
    assert len(runs) == 9
    assert (runs["status"] == "damaged").sum() == 5
    assert "ValueError: &lt;odd&gt; | thing" in Path("out/report.html").read_text()
    assert made()["settings"]["runs"].tolist() == [8]  # all whose configuration can be read


def test_nothing_has_finished(report):
    folder = make("all/a")
    (folder / "run.json").write_text('{"status": "interrupted"}')
    answer = report("all", "output=out", "metrics=sensitivity")
    assert answer.code == 0, answer.err
    assert "None of 1 runs has finished." in answer.out
    assert "- all/a: interrupted" in answer.out
    assert "No run has finished." in Path("out/report.html").read_text()


def test_filters_and_columns(report):
    for seed in range(2):
        make(f"all/a{seed}", seed=seed)
        make(f"all/b{seed}", seed=seed, optimizer__lr=0.01)
        make(f"all/c{seed}", "resnet50", seed, optimizer__lr=0.01)
    words = ("where=[optimizer.lr=1e-2,model.name=cnn]", "columns=[seed,trainer.precision]")
    answer = report("all", *FEW, *words, "output=out", "metrics=[sensitivity,brier]")
    assert "2 of 2 runs have finished, of 1 setting. Only runs with optimizer.lr=1e-2, model.name=cnn." in answer.out
    head = "| # | dataset | model | differs in | seed | trainer.precision | runs | test images (patients) | validation"
    assert f"{head} | test sensitivity | test brier | training |" in answer.out
    assert "| 1 | livers | cnn (best) |  | 0, 1 | 32-true | 2 | 80 (80) |" in answer.out
    assert set(made()["runs"]["run"]) == {"all/b0", "all/b1"}
    assert report("all", *FEW, "where=dataset.splits.folds=null", "output=without_folds").code == 0


def test_what_sets_settings_apart_is_said_and_nothing_else(report):
    make("all/a", trainer__precision="bf16-mixed")
    make("all/b", seed=1, trainer__precision="bf16-mixed", evaluation__plots=True)
    make("all/c")
    make("all/d", "resnet50", trainer__max_epochs=9)
    answer = report("all", *FEW, "output=out")
    rows = [line.split(" | ")[2:5] for line in answer.out.splitlines() if line.startswith(("| 1", "| 2", "| 3"))]
    differs = {row[1] for row in rows if row[0].startswith("cnn")}
    assert differs == {"trainer.precision=bf16-mixed", "trainer.precision=32-true"}
    assert [row[1] for row in rows if row[0].startswith("resnet50")] == [""]
    assert made()["settings"]["runs"].sum() == 4


def test_a_learning_rate_that_was_found_is_no_setting(report):
    for seed in range(2):
        make(f"all/{seed}", seed=seed, tune__lr=True, optimizer__lr=0.001 * (seed + 1))
    assert "2 of 2 runs have finished, of 1 setting." in report("all", *FEW).out


def test_an_undefined_metric_has_its_reason(report):
    rows = table(5.0, n=80, validation=40)
    rows = rows[(rows["split"] == "val") | (rows["true_class"] == "NORMAL")]
    make("all/a", rows=rows)
    make("all/b", seed=1, rows=rows)
    make("all/four", "four", rows=table(n=80, classes=FOUR, validation=40))
    answer = report("all", *FEW, "output=out", "metrics=[auroc_macro,sensitivity]")
    assert (
        "#1 cnn of livers: test sensitivity is not defined: 2 of 2 runs have none: no image is of class PNE"
        in answer.out
    )
    assert (
        "test sensitivity is not defined: 1 of 1 runs have none: there is no such metric for its 4 classes"
        in answer.out
    )
    assert "cannot be compared: not the same test images: " in answer.out
    assert "have different classes (" in answer.out
    reasons = made()["settings"]["test_sensitivity_reason"]
    assert reasons.str.contains("2 of 2 runs have none").any()
    assert np.isnan(made()["settings"]["test_sensitivity"]).all()


def test_the_folds_of_a_seed_become_one_table(report):
    for seed in (0, 1):
        make_folds(f"all/{seed}", seed=seed)
    # a threshold of its own
    metrics = Path("all/0/fold2/metrics.json")
    stored = json.loads(metrics.read_text())
    stored["operating_point"]["threshold"] = 0.9
    metrics.write_text(json.dumps(stored))
    answer = report("all", *FEW, "output=out")
    assert answer.code == 0, answer.err
    files = sorted(path.name for path in Path("out").glob("out_of_fold_*"))
    tables = [f"out_of_fold_livers_cnn_1_seed{seed}.csv" for seed in (0, 1)]
    assert files == [*tables, "out_of_fold_metrics.csv"]
    joined = load_predictions(Path("out") / tables[0])
    assert joined["path"].is_unique and len(joined) == 128
    assert joined["fold"].value_counts().tolist() == [32] * 4
    called = np.where(joined["prob_PNEUMONIA"] >= np.where(joined["fold"] == "2", 0.9, 0.5), "PNEUMONIA", "NORMAL")
    assert (joined["predicted_class"] == called).all()
    found = pd.read_csv("out/out_of_fold_metrics.csv", keep_default_na=False)
    value = found[(found["setting"] == "#1 cnn, seed 0") & (found["class"] == "")].set_index("metric")
    assert float(value.loc["balanced_accuracy", "value"]) == pytest.approx(
        balanced_accuracy_score(joined["true_class"], joined["predicted_class"])
    )
    auroc = roc_auc_score(joined["true_class"] == "PNEUMONIA", joined["prob_PNEUMONIA"])
    assert float(value.loc["auroc_macro", "value"]) == pytest.approx(auroc)
    assert float(value.loc["auroc_macro", "low"]) < auroc < float(value.loc["auroc_macro", "high"])
    assert "| livers | #1 cnn, seed 0 | 4 | 128 (64) |" in answer.out
    assert "| 1 | livers | cnn (best) |  | 8 | 128 (64) |" in answer.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "of 4 folds there is no finished run of fold 3"),
        ("twice", "there are several runs of fold 1"),
        ("overlap", "32 images are in the test part of several folds"),
        ("absent", "1 images are in the test part of no fold (more.png)"),
    ],
)
def test_folds_that_do_not_make_a_whole_are_not_joined(report, change, said):
    folders = make_folds("all")
    if change == "missing":
        (folders[3] / "run.json").write_text('{"status": "failed"}')
    elif change == "twice":
        make("all/more", rows=cut(1), dataset__splits={"seed": 0, "folds": 4, "fold": 1})
    elif change == "overlap":
        (folders[2] / "predictions.csv").write_text((folders[1] / "predictions.csv").read_text())
    else:
        (folders[0] / "splits.csv").write_text("path,split\nmore.png,test\n")
    answer = report("all", *FEW, "output=out")
    assert f"#1 cnn, seed 0: no out-of-fold table: {said}" in answer.out
    assert not list(Path("out").glob("out_of_fold*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty"], "empty: no run is there, nor below (no run.json)"),
        (
            ["all", "metrics=acuracy"],
            "metrics=acuracy: no run has such a metric; did you mean 'accuracy'? Known",
        ),
        (["all", "metrics=patients"], "metrics=patients: no run has such a metric"),
        (["all", "metrics=[]"], "metrics=[]: must have at least 1 entries"),
        (
            ["all", "columns=optimiser.lr"],
            "columns=optimiser.lr: no run has such a key in its config.yaml; did you",
        ),
        (["all", "where=model.nam=cnn"], "did you mean 'model.name'?"),
        (["all", "where=model.name"], "is not KEY=VALUE"),
        (["all", "where=model.name=vit"], "leaves no run; values of model.name are cnn"),
        (["all", "resamples=10"], "resamples=10: must be at least 100"),
        (["all", "output=all"], "output=all: already holds something"),
        (["all", *FEW, "output=all/a/run.json/out"], "cannot be written"),
        (["output=out"], "folders: none is named; type one or more FOLDER"),
    ],
)
def test_what_is_refused(report, arguments, message):
    make("all/a")
    Path("empty").mkdir()
    answer = report(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert "Traceback" not in answer.text
    assert answer.out == ""
    assert not Path("runs").exists()


def test_a_report_is_no_run_and_the_same_command_gives_the_same_figures(report):
    make("runs/a")
    first, again, other = (report("runs", *FEW, f"output=runs/report/{at}", f"seed={seed}").out
                           for at, seed in enumerate("001"))  # fmt: skip
    assert first.replace("Written to runs/report/0", "") == again.replace("Written to runs/report/1", "")
    assert first.split("## How")[0] != other.split("## How")[0]


def test_a_folder_given_twice_counts_once(report):
    make("all/a")
    assert "1 of 1 runs have finished" in report("all", "all/a", "./all", *FEW).out


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.sources, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_escapes_what_comes_from_data(report):
    odd = "<script>x</script> | $a_b$"
    for seed in range(2):
        make(f"all/a{seed}", seed=seed, dataset__name=odd, model__name=odd)
        make(f"all/b{seed}", seed=seed, dataset__name=odd, model__name=odd, optimizer__lr=0.01)
    answer = report("all", *FEW, "output=out")
    assert answer.code == 0, answer.err
    text = Path("out/report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.sources)
    assert page.tags.count("img") == 3
    assert "script" not in page.tags and "http" not in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    rows = [line for line in answer.out.splitlines() if line.startswith("| 1 ")]
    assert "&lt;script>x&lt;/script> \\| $a_b$" in rows[0]


def test_ctrl_c(report, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(overview, "read_runs", interrupted)
    make("all/a")
    answer = report("all")
    assert (answer.code, answer.err.strip()) == (130, "interrupted")


def typed(code, cwd="."):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_what_is_imported(report):
    make("all/a")
    code = f"""
import sys
sys.argv = ["report", "all", "output=out", *{FEW}]
from medclf.report import main
assert not {{"pandas", "matplotlib", "numpy", "torch"}} & set(sys.modules)
main()
assert not {{"torch", "lightning", "torchvision", "hydra"}} & set(sys.modules)
"""
    done = typed(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_reader_that_stops_early_is_no_error(report):
    make("all/a")
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "medclf.report", "all", *FEW, "output=out"],
            stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("out/report.html").is_file()


def test_runs_that_were_really_trained(train, report):
    from helpers.commands import TINY_PHANTOM

    for fold in range(2):
        words = [f"dataset.splits.fold={fold}", "dataset.splits.folds=2", "seed=3", f"hydra.run.dir=all/fold{fold}"]
        answer = train(*TINY_PHANTOM, *words)
        assert answer.code == 0, answer.text
    answer = train(*TINY_PHANTOM, "trainer.fast_dev_run=true", "hydra.run.dir=all/trial")
    assert answer.code == 0, answer.text
    answer = report("all", *FEW, "output=out")
    assert answer.code == 0, answer.err
    assert "2 of 3 runs have finished, of 1 setting." in answer.out
    assert "- all/trial: finished without results" in answer.out
    images = yaml.safe_load(Path("all/fold0/config.yaml").read_text())["dataset"]["phantom"]
    (table_file,) = Path("out").glob("out_of_fold_phantom*.csv")
    assert len(load_predictions(table_file)) == images["train"] + images["validation"]
    assert made()["settings"]["finished"].tolist() == [2]
