"""``python -m medclf.ensemble`` as one types it."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import TINY_PHANTOM, train_process
from helpers.images import write_classes
from helpers.signing import sign_run
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, roc_auc_score

from medclf import compare, ensemble, evaluate
from medclf.inference.loading import load_model
from medclf.inference.predictor import Predictor

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
def quick(members):
    """The same, judged without intervals and pictures, which take most of the time."""
    for member in members:
        path = Path(member, "config.yaml")
        config = OmegaConf.load(path)
        config.evaluation.update(plots=False, resamples=100)
        OmegaConf.save(config, path)
    return members


@pytest.fixture
def average(command):
    return partial(command, ensemble.main)


def test_the_mean_of_the_probabilities_is_evaluated_like_a_run(average, members, command):
    answer = average(*members, "output=both")
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

    answer = command(compare.main, "member0", "both", "resamples=200")
    assert answer.code == 0, answer.text
    assert "ensemble of 2 cnn" in answer.out
    answer = command(evaluate.main, "run=both", "hydra.run.dir=again")
    assert answer.code == 0, answer.text
    again = json.loads(Path("again/metrics.json").read_text(encoding="utf-8"))
    assert again["test"] == stored["test"]


def test_three_members_in_another_order_give_the_same(average, quick):
    shutil.copytree("member0", "member2")
    assert average("member0", "member1", "member2", "output=a").code == 0
    assert average("member2", "member1", "member0", "output=b").code == 0
    one, two = (pd.read_csv(Path(name) / "predictions.csv") for name in "ab")
    np.testing.assert_allclose(one["prob_organ_absent"], two["prob_organ_absent"], rtol=0, atol=1e-12)


def predicted(paths, tta="none"):
    """By the model that was saved: its own probabilities, and what it says of the images."""
    engine = Predictor(load_model(Path("both/checkpoints/best.json")), "cpu", tta=tta)
    root = Path(OmegaConf.load("both/config.yaml").dataset.root)
    found = engine.predict([engine.see(root, path) for path in paths])
    return found.uncalibrated, found, engine.model


def test_the_model_that_is_saved_gives_the_averaged_probabilities(average, quick):
    answer = average(*quick, "output=both")
    assert answer.code == 0, answer.text
    assert "Model:   both/checkpoints/best.json" in answer.out
    table = pd.read_csv("both/predictions.csv")
    own, found, model = predicted(table["path"])
    columns = [f"prob_{name}" for name in model.classes]
    np.testing.assert_allclose(own, table[columns], rtol=0, atol=1e-6)
    assert (np.asarray(model.classes)[found.predicted] == table["predicted_class"]).all()

    stored = json.loads(Path("both/metrics.json").read_text(encoding="utf-8"))
    facts = json.loads(Path("both/checkpoints/best.json").read_text(encoding="utf-8"))
    assert (facts["kind"], facts["members"]) == ("ensemble", ["members/0/best.json", "members/1/best.json"])
    assert (facts["classes"], facts["positive"]) == (["organ_absent", "organ_present"], "organ_present")
    assert facts["operating_point"] == stored["operating_point"]
    assert facts["threshold"] == stored["operating_point"]["threshold"]
    assert facts["temperature"] == stored["temperature"]["value"]
    assert facts["monitor_value"] == stored["monitor_value"]
    for at, member in enumerate(quick):
        for name in ("best.json", "best.pth"):
            copied = Path(f"both/checkpoints/members/{at}/{name}").read_bytes()
            assert copied == Path(member, "checkpoints", name).read_bytes()
    assert Path("both/checkpoints/members/1/novelty.npz").is_file()


def test_what_is_unlike_the_training_images_is_told_as_the_first_member_tells_it(average, quick):
    table = pd.read_csv("member0/predictions.csv")
    alone = Predictor(load_model(Path("member0/checkpoints/best.json")), "cpu")
    root = Path(OmegaConf.load("member0/config.yaml").dataset.root)
    expected = alone.predict([alone.see(root, path) for path in table["path"]])
    Path("member1/checkpoints/novelty.npz").unlink()
    sign_run(Path("member1"))
    assert average(*quick, "output=both").code == 0
    _, found, model = predicted(table["path"])
    assert model.novelty.threshold == alone.model.novelty.threshold
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-4)
    assert (found.unlike == expected.unlike).all()


def test_test_time_augmentation_and_other_images_by_an_ensemble(average, quick, command):
    assert average(*quick, "output=both").code == 0
    answer = command(evaluate.main, "run=both", "tta=flip", "evaluation=quick", "hydra.run.dir=flipped")
    assert answer.code == 0, answer.text
    table, plain = (pd.read_csv(f"{name}/predictions.csv") for name in ("flipped", "both"))
    one, two = (Predictor(load_model(Path(f"{member}/checkpoints/best.json")), "cpu") for member in quick)
    root = Path(OmegaConf.load("both/config.yaml").dataset.root)
    images = [one.see(root, path) for path in table["path"]]
    mirrored = [tuple(form[..., ::-1].copy() for form in image) for image in images]
    expected = np.mean(
        [engine.predict(seen).uncalibrated for engine in (one, two) for seen in (images, mirrored)], axis=0
    )
    columns = [f"prob_{name}" for name in one.model.classes]
    np.testing.assert_allclose(table[columns], expected, rtol=0, atol=1e-6)
    assert (table["path"] == plain["path"]).all()
    assert abs(table[columns] - plain[columns]).to_numpy().max() > 1e-4

    write_classes(Path("other"), {"organ_absent": 5, "organ_present": 5})
    words = ["dataset=folder", "dataset.root=other", "evaluation=quick", "hydra.run.dir=out"]
    answer = command(evaluate.main, "run=both", *words)
    assert answer.code == 0, answer.text
    other = pd.read_csv("out/predictions.csv")
    seen = [one.see(Path("other"), path) for path in other["path"]]
    expected = (one.predict(seen).uncalibrated + two.predict(seen).uncalibrated) / 2
    np.testing.assert_allclose(other[columns], expected, rtol=0, atol=1e-6)


def test_images_that_any_member_has_seen_are_left_out_elsewhere(average, quick, command):
    """The members may have been trained on different images; the ensemble has seen them all."""
    prints = pd.read_csv("member1/fingerprints.csv")
    write_classes(Path("other"), {"organ_absent": 5, "organ_present": 5})
    root = Path(OmegaConf.load("member0/config.yaml").dataset.root)
    mine = prints.loc[prints["split"] == "train", "path"].iloc[0]
    pd.read_csv("member0/fingerprints.csv").query("path != @mine").to_csv("member0/fingerprints.csv", index=False)
    shutil.copyfile(root / mine, "other/organ_absent/known.png")
    assert average(*quick, "output=both").code == 0
    words = ["dataset=folder", "dataset.root=other", "evaluation=quick", "hydra.run.dir=out"]
    answer = command(evaluate.main, "run=both", *words)
    assert answer.code == 0, answer.text
    assert "the model was trained on: 1 (organ_absent/known.png)" in answer.out


@pytest.mark.parametrize("missing", ["best.pth", "best.json"])
def test_members_without_a_model_are_averaged_all_the_same(average, quick, command, missing):
    Path("member1/checkpoints", missing).unlink()
    answer = average(*quick, "output=both")
    assert answer.code == 0, answer.text
    assert f"No model was saved, since a member has none: member1/checkpoints/{missing}" in answer.out
    assert Path("both/metrics.json").is_file()
    assert not Path("both/checkpoints").exists()
    answer = command(evaluate.main, "run=both", "tta=flip")
    assert "error: run=both: best.json is not there" in answer.err


def spoil(change):
    path = Path("member1/predictions.csv")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)
    sign_run(path.parent)


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
    answer = average(*members, "output=both")
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
        (["member0", "member1", "output=member1"], "output=member1: already holds something"),
        (["output=both"], "runs: none is named; type one or more RUN"),
    ):
        answer = average(*typed)
        assert (answer.code, answer.err[:7]) == (2, "error: ")
        assert message in answer.err
    record = Path("member1/run.json")
    record.write_text(record.read_text(encoding="utf-8").replace('"finished"', '"failed"'), encoding="utf-8")
    answer = average(*members)
    assert "this run has not finished, its status is 'failed'" in answer.err
    assert not Path("runs").exists()
