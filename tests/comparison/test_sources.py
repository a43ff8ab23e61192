from pathlib import Path

import pytest
from helpers.run_folders import make_run, predictions

from medclf.comparison.sources import assign_labels, has_several_seeds, read_sources
from medclf.evaluation.predictions import save_predictions
from medclf.utils.errors import DataError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(*paths):
    return read_sources([Path(path) for path in paths])


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ((("cnn", 0), ("resnet50", 0)), ["cnn", "resnet50"]),
        ((("cnn", 0), ("cnn", 1), ("resnet50", 0)), ["cnn seed 0", "cnn seed 1", "resnet50"]),
        ((("cnn", 0), ("cnn", 0)), ["cnn seed 0 run0", "cnn seed 0 run1"]),
    ],
)
def test_names_are_as_short_as_they_can_be(runs, shown):
    assert list(read(*[make_run(f"run{at}", model, seed) for at, (model, seed) in enumerate(runs)])) == shown


def test_the_first_name_is_taken_that_no_other_has():
    assert assign_labels([("a", "x"), ("a", "y"), ("b", "z")]) == ["x", "y", "b"]
    assert assign_labels([("a", "b", "x"), ("a", "b", "y"), ("a", "c", "z")]) == ["x", "y", "c"]


def test_runs_without_a_configuration_have_their_folders_name():
    folders = make_run("first/run"), make_run("second/run", seed=1)
    for folder in folders:
        Path(folder, "config.yaml").unlink()
    assert list(read(*folders)) == ["first/run", "second/run"]


def test_names_of_files_are_made_unique():
    make_run("a"), make_run("b", seed=1)
    assert list(read("a/predictions.csv", "b/predictions.csv")) == ["a/predictions", "b/predictions"]


@pytest.mark.parametrize(
    ("runs", "several"),
    [
        ([("cnn", 0), ("cnn", 1), ("resnet50", 0), ("resnet50", 1)], True),
        ([("cnn", 0), ("cnn", 1), ("resnet50", 0)], False),
        ([("cnn", 0), ("resnet50", 0)], False),
    ],
)
def test_several_seeds(runs, several):
    folders = [make_run(f"{model}{seed}", model, seed) for model, seed in runs]
    assert has_several_seeds(read(*folders).values()) == several


def test_of_a_table_no_seed_is_known():
    for name in ("a.csv", "b.csv"):
        save_predictions(predictions(), Path(name))
    assert not has_several_seeds(read("a.csv", "b.csv").values())


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a"], "a: is one run, and a comparison needs two or more"),
        (["a", "nowhere"], "nowhere: there is no such run folder, and no such file"),
        (["a", "./b/../a"], "are the same run, given twice"),
        (["a", "a/predictions.csv"], "are the same run, given twice"),
        (["a", "running"], "running: this run has not finished, its status is 'running'"),
        (["a", "failed"], "failed: this run has not finished, its status is 'failed'"),
        (["a", "norun"], "norun: is no run folder (run.json is not there)"),
        (["a", "nostatus"], "nostatus/run.json: is no record of a run"),
        (["a", "nopredictions"], "nopredictions: this run has no predictions.csv"),
        (["a", "damaged"], "damaged/metrics.json: cannot be read"),
        (["a", "unreadable"], "unreadable/config.yaml: cannot be read"),
    ],
)
def test_what_is_refused(paths, message):
    make_run("a"), make_run("b", "resnet50", 1)
    make_run("running", status="running"), make_run("failed", status="failed")
    Path("norun").mkdir()
    Path(make_run("nostatus"), "run.json").write_text("{}", encoding="utf-8")
    Path(make_run("nopredictions"), "predictions.csv").unlink()
    Path(make_run("damaged"), "metrics.json").write_text("{", encoding="utf-8")
    Path(make_run("unreadable"), "config.yaml").write_text("model: {", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(*paths)
    assert message in str(caught.value)
