"""On real images, where MEDCLF_DATA names a folder of them: what is known of the published sets is found in them."""

import json
import os
from pathlib import Path

import pytest

from medclf.config import resolvers
from medclf.config.compose import Composer
from medclf.config.schema import Dataset, validated
from medclf.data.folders import find_images
from medclf.data.splits import split_images
from medclf.data.store import load_images

resolvers.register()
DATA = Path(os.environ["MEDCLF_DATA"]).absolute() if os.environ.get("MEDCLF_DATA") else None
pytestmark = pytest.mark.skipif(DATA is None, reason="MEDCLF_DATA names no folder of real images")


def dataset(name: str, folder: str, *overrides: str) -> Dataset:
    assert DATA is not None
    root = DATA / folder
    if not root.is_dir():
        pytest.skip(f"{folder} is not among the real images")
    return validated(Composer("train").compose([f"dataset={name}", f"dataset.root='{root}'", *overrides])).dataset


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
    images = load_images(Path(config.root), [image.path for image in found.images], 32, 3, progress=False)
    assert images.float().std(dim=(1, 2, 3)).min() > 5


def test_pneumonia_keeps_its_test_part_and_its_patients_together():
    config = dataset("pneumonia", "chest_xray_sample", "dataset.batch_size=8")
    table = split_images(find_images(config), config)
    assert set(table.part("test")["path"].str.split("/").str[-3]) == {"test"}
    own = table.frame[table.frame["split"] != "test"]
    assert (own.groupby("group")["split"].nunique() == 1).all()
    assert not (table.frame["group"] == table.frame["path"]).any(), "a file whose patient was not found"


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
    assert json.loads(metrics.read_text(encoding="utf-8"))["test"]["n"] > 20
