import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY_PHANTOM, train_process
from sklearn.metrics import accuracy_score, roc_auc_score

from medclf import compare, ensemble, evaluate

WORDS = [*TINY_PHANTOM, "trainer.max_epochs=1", "evaluation=default", "evaluation.resamples=200",
         "evaluation.grad_cam=0", "evaluation.operating_point=youden"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    for seed in range(2):
        answer = train_process(*WORDS, f"seed={seed}", f"hydra.run.dir=member{seed}", cwd=folder)
        assert answer.code == 0, answer.text
    return folder


@pytest.fixture
def members(trained, tmp_path):
    """Two runs of one split, to be spoilt at will."""
    for run in ("member0", "member1"):
        shutil.copytree(trained / run, tmp_path / run)
    shutil.copytree(trained / "data", tmp_path / "data")
    return ["member0", "member1"]


@pytest.fixture
def average(command):
    return partial(command, ensemble.main)


def test_the_mean_of_the_probabilities_is_evaluated_like_a_run(average, members, command):
    answer = average(*members, "--output", "both")
    assert answer.code == 0, answer.text
    tables = [pd.read_csv(Path(name) / "predictions.csv").set_index("path") for name in [*members, "both"]]
    columns = ["prob_organ_absent", "prob_organ_present"]
    one, two, both = (table.loc[tables[0].index, columns].to_numpy() for table in tables)
    np.testing.assert_allclose(both, (one + two) / 2, rtol=0, atol=1e-12)
    stored = json.loads(Path("both/metrics.json").read_text(encoding="utf-8"))
    test = tables[2][tables[2]["split"] == "test"]
    truth = (test["true_class"] == "organ_present").to_numpy()
    assert stored["test"]["auroc_macro"] == pytest.approx(roc_auc_score(truth, test["prob_organ_present"]))
    called = test["prob_organ_present"] >= stored["operating_point"]["threshold"]
    assert stored["test"]["accuracy"] == pytest.approx(accuracy_score(truth, called))
    assert (test["predicted_class"] == np.where(called, "organ_present", "organ_absent")).all()
    validation = tables[2][tables[2]["split"] == "val"]
    chosen_by = roc_auc_score(validation["true_class"] == "organ_present", validation["prob_organ_present"])
    assert stored["monitor_value"] == pytest.approx(chosen_by)
    assert stored["operating_point"]["rule"] == "youden"
    assert json.loads(Path("both/run.json").read_text(encoding="utf-8"))["status"] == "finished"
    page = Path("both/report.html").read_text(encoding="utf-8")
    assert "<code>member0</code>" in page
    assert "the mean of the probabilities of 2 runs, member0, member1" in page
    assert "python -m medclf.ensemble" in page
    assert "both/report.html" in answer.out

    answer = command(compare.main, "member0", "both", "--resamples", "200")
    assert answer.code == 0, answer.text
    assert "ensemble of 2 cnn" in answer.out
    answer = command(evaluate.main, "run=both", "hydra.run.dir=again")
    assert answer.code == 0, answer.text
    again = json.loads(Path("again/metrics.json").read_text(encoding="utf-8"))
    assert again["test"] == stored["test"]


def test_three_members_in_another_order_give_the_same(average, members):
    shutil.copytree("member0", "member2")
    assert average("member0", "member1", "member2", "--output", "a").code == 0
    assert average("member2", "member1", "member0", "--output", "b").code == 0
    one, two = (pd.read_csv(Path(name) / "predictions.csv") for name in "ab")
    np.testing.assert_allclose(one["prob_organ_absent"], two["prob_organ_absent"], rtol=0, atol=1e-12)


def spoil(change):
    path = Path("member1/predictions.csv")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def swapped(table):
    """Another split: a test image is a validation image."""
    table.loc[table.index[table["split"] == "test"][0], "split"] = "val"
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: swapped(table), "validation images are not the same"),
        (lambda table: table[table["split"] == "test"], "have not the same splits"),
        (lambda table: table.rename(columns={"prob_organ_absent": "prob_other"}), "member1"),
        (lambda table: table.iloc[:-1], "test images are not the same"),
    ],
)
def test_members_with_other_images_are_refused(average, members, change, message):
    spoil(change)
    answer = average(*members, "--output", "both")
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert not Path("both").exists()


def test_wrong_members_and_folders(average, members):
    for typed, message in (
        (["member0"], "is one run"),
        (["member0", "member0"], "are the same run"),
        (["member0", "nowhere"], "nowhere: there is no such run folder"),
        (["member0", "member1/predictions.csv"], "is a table; an ensemble is of run folders"),
        (["member0", "member1", "--output", "member1"], "--output member1: already holds something"),
        ([], "the following arguments are required: RUN"),
    ):
        answer = average(*typed)
        assert (answer.code, answer.err[:7]) == (2, "error: ")
        assert message in answer.err
    record = Path("member1/run.json")
    record.write_text(record.read_text(encoding="utf-8").replace('"finished"', '"failed"'), encoding="utf-8")
    answer = average(*members)
    assert "this run has not finished, its status is 'failed'" in answer.err
    assert not Path("runs").exists()
