"""On real images, where MEDCLF_DATA names a folder of them: what is known of the published sets is found in them."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from medclf.cli import resolvers
from medclf.config.composition import Composer
from medclf.config.schema import DatasetConfig, TrainConfig, validate_config
from medclf.data.build_image_table import load_image_table
from medclf.data.image_cache import open_image_cache
from medclf.data.sources.discovery import find_images

resolvers.register_resolvers()
DATA = Path(os.environ["MEDCLF_DATA"]).absolute() if os.environ.get("MEDCLF_DATA") else None
STORE = tempfile.TemporaryDirectory()
pytestmark = pytest.mark.skipif(DATA is None, reason="MEDCLF_DATA names no folder of real images")


def dataset(name: str, folder: str, *overrides: str) -> DatasetConfig:
    assert DATA is not None
    root = DATA / folder
    if not root.is_dir():
        pytest.skip(f"{folder} is not among the real images")
    words = [f"dataset={name}", f"dataset.root='{root}'", f"dataset.store='{STORE.name}'"]
    return validate_config(Composer("train").compose([*words, *overrides]), TrainConfig).dataset


def test_busi_has_its_published_counts():
    found = find_images(dataset("busi", "busi_256"))
    labels = [image.label for image in found.images]
    assert {name: labels.count(name) for name in found.classes} == {"normal": 133, "benign": 437, "malignant": 210}


def test_busi_as_published_leaves_out_every_mask():
    config = dataset("busi", "busi_original_sample", "dataset.batch_size=8")
    found = find_images(config)
    assert len(found.images) == 90
    assert found.excluded > 90 / 2
    assert not any("mask" in image.path for image in found.images)


def test_pneumonia_keeps_its_test_part_and_its_patients_together():
    config = dataset("pneumonia", "chest_xray_sample", "dataset.batch_size=8")
    table = load_image_table(config, progress=False)
    assert set(table.part("test")["path"].str.split("/").str[-3]) == {"test"}
    own = table.frame[table.frame["split"] != "test"]
    assert (own.groupby("group")["split"].nunique() == 1).all()
    assert not (table.frame["group"] == table.frame["path"]).any(), "a file whose patient was not found"


def test_busi_has_one_picture_under_two_labels():
    config = dataset("busi", "busi_original_sample", "dataset.batch_size=8")
    table = load_image_table(config, progress=False)
    assert len(table.frame) == 88
    assert any("benign (433).png = malignant/malignant (145).png" in note for note in table.notes)
    store = open_image_cache(table, config, progress=False)
    assert min(store[row].float().std() for row in range(len(store))) > 5


def test_busi_has_about_as_many_groups_as_patients():
    """780 images of 600 patients whom it does not name: pictures that look alike are grouped."""
    table = load_image_table(dataset("busi", "busi_256"), progress=False)
    assert 560 < table.frame["group"].nunique() < 640
    assert (table.frame.groupby("group")["split"].nunique() == 1).all()


@pytest.mark.parametrize(
    ("name", "folder", "overrides"),
    [
        ("busi", "busi_original_sample", []),
        ("pneumonia", "chest_xray_sample", []),
        ("covid", "covid_sample", ["dataset.classes=[covid,healthy]"]),
    ],
)
def test_one_line_trains(train, tmp_path, name, folder, overrides):
    root = dataset(name, folder, "dataset.batch_size=8").root
    small = ["dataset.image_size=64", "dataset.batch_size=8", "trainer.max_epochs=1", "trainer=cpu"]
    answer = train(f"dataset={name}", f"dataset.root='{root}'", *overrides, *small)
    assert answer.code == 0, answer.text
    (metrics,) = tmp_path.rglob("metrics.json")
    test = json.loads(metrics.read_text(encoding="utf-8"))["test"]
    assert test["n"] > 20
    low, high = test["interval_95"]["accuracy"]
    assert 0 <= low <= test["accuracy"] <= high <= 1
    drawn = {path.stem for path in (metrics.parent / "figures").glob("*.png")}
    assert {"roc_curve", "reliability", "learning_curves", "test_predictions", "grad_cam_right"} <= drawn
    report = (metrics.parent / "report.html").read_text(encoding="utf-8")
    assert f"{test['accuracy']:.4f}" in report
    assert report.count("data:image/png;base64,") == len(drawn)
