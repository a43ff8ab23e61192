"""The files of a run folder may come from anybody: what is wrong in them is named, and nothing in them is obeyed."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.run_folders import make_run, predictions

from medclf.comparison.compare import compare_sources
from medclf.config.run_file_schemas import compute_run_digests, read_config, read_metrics, read_record, verify_run_file
from medclf.evaluation.predictions import save_predictions
from medclf.overview.runs import read_runs
from medclf.utils.errors import DataError
from medclf.utils.run_folder import Run
from medclf.utils.text_escaping import escape_markdown, markdown_table, to_one_line


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run without what no test changes."""
    shutil.copytree(finished[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "figures", "events*"))
    return Run(tmp_path / "run")


def change(path, key, value):
    """Change an entry of a JSON or YAML file; the value ``...`` removes it."""
    content = yaml.safe_load(path.read_text())
    *groups, last = key.split(".")
    inner = content
    for group in groups:
        inner = inner[group]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    path.write_text(json.dumps(content))


WRONG = [
    (read_record, "record", "status", ..., "run.json: status is missing"),
    (read_record, "record", "command", "rm -rf", "run.json: command=rm -rf: "),
    (read_record, "record", "versions", {"torch": [1]}, "run.json: versions.torch=[1]: must be text"),
    (read_metrics, "metrics", "operating_point.threshold", 7, "metrics.json: operating_point.threshold=7: "),
    (
        read_metrics,
        "metrics",
        "test.interval_95.accuracy",
        [0.5],
        "test.interval_95.accuracy=[0.5]: must have at least 2",
    ),
    (read_metrics, "metrics", "test.accuracy", "<b>", "metrics.json: test.accuracy"),
    (read_metrics, "metrics", "monitor_value", "abc", "metrics.json: monitor_value=abc: "),
    (read_config, "config", "model.name", {"$": 1}, "config.yaml: model.name={$: 1}: must be text"),
    (read_config, "config", "model", ..., "config.yaml: model is missing"),
    (read_config, "config", "trainer.max_epochs", "${oc.env:HOME}", "config.yaml: trainer.max_epochs=${oc.env:HOME}: "),
    (read_config, "config", "dataset.image_size", "big", "config.yaml: dataset.image_size=big: "),
    (read_config, "config", "evaluation.resamples", -1, "config.yaml: evaluation.resamples=-1: "),
]


@pytest.mark.parametrize(("read", "file", "key", "value", "message"), WRONG)
def test_a_value_of_a_wrong_type_is_named_by_file_and_key(run, read, file, key, value, message):
    assert read(run)
    (run.folder / "run.json").write_text(json.dumps({**json.loads(run.record.read_text()), "files_sha256": {}}))
    change(getattr(run, file), key, value)
    with pytest.raises(DataError) as caught:
        read(run)
    assert message in str(caught.value)
    assert "; copy the file again" in str(caught.value)


@pytest.mark.parametrize("how", ["folder", "pipe", "list", "deep", "gone"])
def test_a_file_that_is_none_is_refused_and_not_waited_for(run, how):
    for path, read in ((run.metrics, read_metrics), (run.record, read_record), (run.config, read_config)):
        path.unlink()
        if how == "folder":
            path.mkdir()
        elif how == "pipe":
            os.mkfifo(path)
        elif how in ("list", "deep"):
            path.write_text("[1]" if how == "list" else '{"a":' * 5000 + "1" + "}" * 5000)
        with pytest.raises(DataError, match=path.name):
            read(run)


def test_another_runs_predictions_are_not_evaluated_as_its_own(run, tmp_path):
    own = run.predictions.read_bytes()
    record = json.loads(run.record.read_text())
    assert record["files_sha256"] == compute_run_digests(run)
    verify_run_file(run, run.predictions)
    run.predictions.write_bytes(own.replace(b"organ_present", b"organ_absent", 1))
    with pytest.raises(DataError, match=f"python -m medclf.evaluate predictions={run.predictions}"):
        verify_run_file(run, run.predictions)
    other = make_run(tmp_path / "other")
    with pytest.raises(DataError, match="is not the file that the run wrote"):
        compare_sources([run.folder, Path(other)], None, None, None, 100, 0)
    (entry,) = read_runs([run])
    assert entry.status == "damaged" and "is not the file that the run wrote" in entry.problem


def test_a_run_of_before_digests_is_read(run):
    run.record.write_text(json.dumps({"status": "finished"}))
    verify_run_file(run, run.predictions)
    assert read_metrics(run)


NAME = "<script>alert(1)</script> `x` [a](http://b) | \x1b[31m\n# $\\frac$"


def test_names_stay_text_in_markdown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from medclf.reporting import comparison_report

    for index, name in enumerate((NAME, "other")):
        folder = Path(make_run(f"run{index}", seed=index))
        (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"name": name}, "seed": index}))
    found = compare_sources([Path("run0"), Path("run1")], None, None, None, 100, 0)
    text = comparison_report.format_comparison(found)
    for sign in ("<script", "](http", "\x1b", "\n# $"):
        assert sign not in text
    comparison_report.save_comparison(found, text, Path("out"))  # draws the names too
    cells = markdown_table(["a"], [[NAME]]).splitlines()[2]
    assert cells.replace("\\|", "").count("|") == 2


def test_a_line_of_text():
    assert to_one_line("a\r\n b\x00\u202ec") == "a b\ufffd\ufffdc"
    assert escape_markdown("0.5 [0.1, 0.9]") == "0.5 [0.1, 0.9]"


def test_a_table_of_too_many_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("medclf.evaluation.predictions_io.MAX_CLASSES", 3)
    save_predictions(predictions(classes=("a", "b", "c", "d")), tmp_path / "four.csv")
    from medclf.evaluation.predictions_io import load_predictions

    with pytest.raises(DataError, match=r"four\.csv: has 4 classes, over the limit of 3"):
        load_predictions(tmp_path / "four.csv")
