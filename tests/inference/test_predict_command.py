"""Predictions of a small model that was trained for real, by the command line."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.images import dataset, write_image
from helpers.prediction_inputs import NAMES, probabilities, table_of, write_odd
from helpers.signing import sign_model
from PIL import Image

from medclf.config.schema import ImageSpecConfig
from medclf.data.build_image_table import load_image_table
from medclf.data.image_cache import open_image_cache
from medclf.evaluation.calibration import apply_temperature
from medclf.inference import contact_sheet
from medclf.inference.loading import load_model
from medclf.inference.ood import OODDetector
from medclf.inference.predictor import Predictor
from medclf.predict import main


@pytest.fixture
def predict(command, finished):
    """Type ``python -m medclf.predict run=RUN`` in a fresh folder."""
    return partial(command, main, f"run={finished[0]}")


@pytest.fixture
def model(finished, tmp_path):
    """A copy of the model, which may be changed: its best.pth."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in ("best.pth", "best.json"):
        shutil.copy(finished[0] / "checkpoints" / file, copy)
    return copy / "best.pth"


def own_images(finished):
    """Where the images are that the model was trained on."""
    (root,) = (finished[0].parents[3] / "data" / "phantom").iterdir()
    return root


def test_training_predicted_the_same(predict, finished):
    answer = predict(f"input={own_images(finished)}", "output=out", "accelerator=cpu")
    assert answer.code == 0, answer.text
    facts = json.loads((finished[0] / "checkpoints" / "best.json").read_text(encoding="utf-8"))
    trained = pd.read_csv(finished[0] / "predictions.csv")
    found = pd.read_csv("out/predictions.csv")
    assert [name for name in found if name != "distance"] == [
        "path", "predicted_class", "prob_organ_absent", "prob_organ_present", "flag", "reason"
    ]  # fmt: skip
    both = trained.merge(found, on="path", suffixes=("", "_now"), validate="one_to_one")
    assert len(both) == len(trained) > 0
    columns = ["prob_organ_absent", "prob_organ_present"]
    expected = apply_temperature(both[columns].to_numpy(), facts["temperature"])
    assert np.abs(expected - both[[f"{name}_now" for name in columns]].to_numpy()).max() < 1e-6
    positive = both["prob_organ_present"] >= facts["threshold"]
    assert (both["predicted_class_now"] == np.where(positive, "organ_present", "organ_absent")).all()
    for name in ("organ_absent", "organ_present"):
        assert f"{(found['predicted_class'] == name).sum()}\n" in answer.out
    assert "Written to out/predictions.csv" in answer.out


def test_rows_are_in_order_and_the_record_says_what_was_used(predict, finished, tmp_path):
    write_odd(tmp_path / "images")
    assert predict("input=images", "batch_size=2").code == 0
    (folder,) = Path("runs/predict").iterdir()
    assert list(table_of(folder)["path"]) == sorted(NAMES, key=lambda name: Path(name).parts)
    record = json.loads((folder / "prediction.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["model"] == str(finished[0] / "checkpoints" / "best.json")
    assert record["counts"]["images"] == sum(record["counts"]["classes"].values()) == len(NAMES)
    assert record["operating_point"]["threshold"] == 0.5
    assert record["settings"]["precision"] == "32-true"
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == {"predictions.csv", "prediction.json"}


def test_unreadable_files_stop_nothing(predict, tmp_path):
    root = write_odd(tmp_path / "images")
    (root / "b_empty.png").touch()
    (root / "b_text.png").write_text("no image")
    (root / "b_nowhere.png").symlink_to("nowhere")
    (root / "b_cut.png").write_bytes((root / "a b.png").read_bytes()[:400])
    (root / "notes.txt").touch()
    (root / ".hidden.png").write_text("no image")
    os_error = root / "b_folder.png"
    os_error.mkdir()
    answer = predict("input=images", "output=out", "batch_size=2")
    assert answer.code == 0, answer.text
    table = table_of(Path("out")).set_index("path")
    reasons = table.loc[table["flag"] == "unreadable", "reason"]
    assert sorted(reasons.index) == ["b_cut.png", "b_empty.png", "b_nowhere.png", "b_text.png"]
    assert reasons["b_empty.png"] == "the file is empty"
    assert reasons["b_text.png"] == "not an image of a known kind"
    assert reasons["b_nowhere.png"] == "there is no such file"
    assert (table.loc[reasons.index, ["predicted_class", "prob_organ_absent"]] == "").all(axis=None)
    assert (table.drop(index=reasons.index)["predicted_class"] != "").all()
    assert len(table) == len(NAMES) + 4
    assert "unreadable               4\n" in answer.out


def test_all_unreadable(predict, tmp_path):
    (tmp_path / "x.png").write_text("no image")
    answer = predict("input=x.png", "output=out", "sheet=1", "grad_cam=true")
    assert answer.code == 0, answer.text
    assert table_of(Path("out"))["flag"].tolist() == ["unreadable"]


def test_images_unlike_those_of_training_are_flagged(command, finished, model, tmp_path):
    write_odd(tmp_path / "images")
    novelty = OODDetector.load(finished[0] / "checkpoints" / "novelty.npz")
    for threshold, flag in ((0.0, "unlike training"), (1e9, "")):
        changed = replace(novelty, threshold=threshold, false_alarms=2, validation=40)
        changed.save(model.parent / "novelty.npz")
        sign_model(model.with_suffix(".json"))
        answer = command(main, f"model={model}", "input=images", f"output={threshold}")
        assert answer.code == 0, answer.text
        table = table_of(Path(str(threshold)))
        assert set(table["flag"]) == {flag}
        assert (table["distance"].astype(float) > 0).all()
        assert (table["predicted_class"] != "").all()
        assert all("2 of 40" in reason for reason in table["reason"]) == (flag != "")


def test_numbers_that_are_none_decide_nothing(command, model, tmp_path):
    write_odd(tmp_path / "images")
    weights = torch.load(model, weights_only=True)
    weights["head.weight"] *= np.nan
    torch.save(weights, model)
    sign_model(model.with_suffix(".json"))
    assert command(main, f"model={model}", "input=images", "output=out").code == 0
    table = table_of(Path("out"))
    assert set(table["flag"]) == {"unreadable"}
    assert set(table["predicted_class"]) == {""}


def test_flip_is_the_mean_with_the_mirror_image(predict, finished, tmp_path):
    root = write_odd(tmp_path / "images")
    for name in NAMES:
        mirrored = tmp_path / "mirrored" / name
        mirrored.parent.mkdir(parents=True, exist_ok=True)
        Image.open(root / name).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    for words in (["input=images", "output=plain"], ["input=mirrored", "output=turned"]):
        assert predict(*words).code == 0
    assert predict("input=images", "output=both", "tta=flip").code == 0
    temperature = json.loads((finished[0] / "checkpoints" / "best.json").read_text(encoding="utf-8"))["temperature"]
    plain, turned, both = (probabilities(Path(name)) for name in ("plain", "turned", "both"))
    for name, found in both.items():
        own = [apply_temperature(rows[name][None], 1 / temperature) for rows in (plain, turned)]
        assert np.abs(own[0] - own[1]).max() > 1e-4
        assert np.allclose(apply_temperature(sum(own) / 2, temperature)[0], found, atol=1e-6)


def test_sheet_and_overlays(predict, tmp_path, monkeypatch):
    write_odd(tmp_path / "images", (*NAMES, "a/b.png", "a_b.png"))
    (tmp_path / "images" / "broken.png").touch()
    monkeypatch.setattr(contact_sheet, "PER_PAGE", 4)
    answer = predict("input=images", "output=out", "sheet=6", "grad_cam=true")
    assert answer.code == 0, answer.text
    assert {path.name for path in Path("out").glob("*.png")} == {"sheet_1.png", "sheet_2.png"}
    with Image.open("out/sheet_1.png") as first, Image.open("out/sheet_2.png") as second:
        assert first.width == second.width > 400
    overlays = sorted(Path("out/overlays").iterdir())
    rows = [f"{row:06d}" for row, name in enumerate(table_of(Path("out"))["flag"], 1) if name != "unreadable"]
    assert [path.name[:6] for path in overlays] == rows
    with Image.open(overlays[0]) as image:
        assert (image.mode, image.size) == ("RGB", (32, 32))


def test_a_file_is_seen_as_training_sees_it(finished, tmp_path):
    root = tmp_path / "images"
    for index in range(20):  # JPEGs of four times the square and more are decoded to a smaller size
        write_image(root / "ab"[index % 2] / f"{index}.jpg", 90, "RGB", (300 + index, 200))
    model = load_model(finished[0] / "checkpoints" / "best.json")
    stores, forms = [], []
    for words in (["dataset.channels=1"], ["dataset.channels=3", "dataset.resize=letterbox"]):
        config = dataset(root, "dataset.image_size=32", "dataset.batch_size=4", "dataset.duplicates.near=null", *words)
        table = load_image_table(config, progress=False)
        stores.append(open_image_cache(table, config, progress=False))
        forms.append(ImageSpecConfig.model_validate(config.model_dump(include=set(ImageSpecConfig.model_fields))))
    engine = Predictor(replace(model, forms=forms), "cpu")
    for row, path in enumerate(table.frame["path"]):
        seen = engine.see(table.root, path)
        assert all(np.array_equal(image, store[row].numpy()) for image, store in zip(seen, stores, strict=True))


def test_little_is_imported(finished, tmp_path):
    """Seconds that every prediction would pay; and neither conf/ nor the training images are near."""
    write_odd(tmp_path / "images")
    heavy = {"lightning", "pandas", "matplotlib", "sklearn", "scipy", "captum", "torchmetrics", "tensorboard"}
    code = f"import sys; from medclf.predict import main; main(); sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    words = [f"run={finished[0]}", "input=images", "output=out"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(table_of(tmp_path / "out")) == len(NAMES)


def test_typed_for_real(finished, tmp_path):
    write_odd(tmp_path / "images")
    words = [f"run={finished[0]}", "input=images", "output=out"]
    command = [sys.executable, "-m", "medclf.predict", *words]
    first, second = (subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False) for _ in "ab")
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith("Written to out/predictions.csv\n")
    assert len(table_of(tmp_path / "out")) == len(NAMES)
    assert (second.returncode, second.stderr[:18]) == (2, "error: output=out:")
