"""What the end of a run makes of its predictions: decisions, columns of the patients, what is shipped."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import TINY_PHANTOM

from medclf.config.run_file_schemas import compute_run_digests
from medclf.data.image_table import COLUMNS
from medclf.training import run as training
from medclf.utils.run_folder import Run

READ: list[Path] | None = None
"""Files opened for reading while this is a list."""


def note_read(event, arguments):
    if READ is None or event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path, mode, flags = arguments
    writes = set(mode) & set("wax") if mode else flags & os.O_ACCMODE == os.O_WRONLY
    if not writes:
        READ.append(Path(os.fsdecode(path)))


sys.addaudithook(note_read)  # stays for as long as the process lives


def read(path):
    return pd.read_csv(path, keep_default_na=False)


def metrics(run):
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def test_the_predicted_class_is_that_of_the_operating_point(tabled):
    point = metrics(tabled)["operating_point"]
    assert point["rule"] == "youden"
    assert point["threshold"] != 0.5
    table = read(tabled / "predictions.csv")
    expected = ["dog" if score >= point["threshold"] else "cat" for score in table["prob_dog"]]
    assert table["predicted_class"].tolist() == expected
    assert expected != ["dog" if score >= 0.5 else "cat" for score in table["prob_dog"]]
    test = table[table["split"] == "test"]
    assert metrics(tabled)["test"]["accuracy"] == pytest.approx((test["true_class"] == test["predicted_class"]).mean())


def test_threshold_and_temperature_are_shipped_with_the_weights(tabled):
    about = json.loads((tabled / "checkpoints/best.json").read_text(encoding="utf-8"))
    found = metrics(tabled)
    assert about["threshold"] == found["operating_point"]["threshold"]
    assert about["operating_point"] == found["operating_point"]
    assert about["temperature"] == found["temperature"]["value"]


def test_what_the_table_tells_of_patients_goes_with_them(tabled):
    predictions, splits = read(tabled / "predictions.csv"), read(tabled / "splits.csv")
    given = read(tabled.parent / "images/table.csv").set_index("path")
    others = ["sex", "site", "age", "table_fold", "table_prob_dog"]
    assert list(splits) == [*COLUMNS, *others]
    assert list(predictions)[-5:] == others
    for name in ("sex", "site", "age"):
        assert predictions[name].astype(str).tolist() == given.loc[predictions["path"], name].astype(str).tolist()


def test_the_split_hash_is_that_of_path_class_patient_and_split_alone(tabled):
    splits = read(tabled / "splits.csv")
    plain = splits[list(COLUMNS)].to_csv(index=False, lineterminator="\n").encode()
    record = json.loads((tabled / "run.json").read_text(encoding="utf-8"))
    assert record["split_hash"] == hashlib.sha256(plain).hexdigest()[:12]


def test_subgroups_are_in_a_table_a_picture_and_the_report(tabled):
    groups = pd.read_csv(tabled / "subgroups.csv", dtype={"value": str})
    assert {"sex", "site", "age"} <= set(groups["column"])
    sex = groups[(groups["column"] == "sex") & (groups["metric"] == "accuracy")]
    test = read(tabled / "predictions.csv").query("split == 'test'")
    assert sex["value"].tolist() == ["f", "m"]
    assert sex["n"].tolist() == test["sex"].value_counts().loc[["f", "m"]].tolist()
    for row in sex.itertuples():
        own = test[test["sex"] == row.value]
        assert row.estimate == pytest.approx((own["true_class"] == own["predicted_class"]).mean())
    assert "missing" in set(groups.loc[groups["column"] == "age", "value"])
    assert (tabled / "figures/subgroups.png").is_file()
    assert "<td>sex</td><td>f</td>" in (tabled / "report.html").read_text(encoding="utf-8")


def test_the_end_of_a_run_reads_nothing_that_this_process_has_written_or_decoded_already(train, tmp_path, monkeypatch):
    finalize = training.finalize_training

    def watched(*arguments):
        monkeypatch.setattr(sys.modules[__name__], "READ", [])
        return finalize(*arguments)

    monkeypatch.setattr(training, "finalize_training", watched)
    words = ["evaluation.plots=true", "evaluation.grad_cam=2", "evaluation.gallery=2", "hydra.run.dir=run"]
    answer = train(*TINY_PHANTOM, "trainer.max_epochs=1", *words)
    read = [path.relative_to(tmp_path) if path.is_relative_to(tmp_path) else path for path in READ]
    assert answer.code == 0, answer.text
    assert Path("run/checkpoints/best.ckpt") in read
    names = {path.name for path in read}
    written = {"config.yaml", "run.json", "splits.csv", "novelty.npz", "history.csv", "predictions.csv", "grad_cam.npz"}
    assert not names & written
    assert not [path for path in read if "tfevents" in path.name]
    assert not [path for path in read if path.is_relative_to("data/phantom")]
    run = Run(tmp_path / "run")
    assert run.read_record()["files_sha256"] == compute_run_digests(run)
    assert (run.figures / "learning_curves.png").is_file()
    assert run.grad_cam.is_file()
