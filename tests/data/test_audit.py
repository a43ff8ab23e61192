"""The audit through its command line: what it finds, prints and saves; and prepare, beside it."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers.images import write_classes, write_image
from PIL import Image
from scipy.stats import norm

from medclf import audit, prepare


@pytest.fixture
def faulty(tmp_path):
    """BUSI's layout with all its faults: masks, copies, a picture under two labels, a file that is no image."""
    root = tmp_path / "busi" / "Dataset_BUSI_with_GT"
    for name, count in (("benign", 20), ("malignant", 20), ("normal", 20)):
        write_classes(root, {name: count}, pattern=f"{name} ({{index}}).png")
        write_image(root / name / f"{name} (1)_mask.png")
    twice = (root / "benign" / "benign (20).png").read_bytes()
    (root / "malignant" / "malignant (20).png").write_bytes(twice)
    (root / "normal" / "normal (19).png").write_bytes((root / "normal" / "normal (20).png").read_bytes())
    (root / "normal" / "broken.png").write_bytes(b"no image")
    return root.parent


def run_folder(tmp_path, name):
    (folder,) = (tmp_path / "runs" / name).iterdir()
    return folder


def test_audit_finds_what_is_wrong(command, faulty, tmp_path):
    answer = command(audit.main, "dataset=busi", "dataset.root=busi")
    code, out, err = answer.code, answer.out, answer.err
    assert code == 0, err
    for words in (
        "58 used, 3 left out by dataset.exclude",
        "40x30 (58)",
        "L (58)",
        "none of 58 looked at is in colour",
        "1 of 61 images cannot be read; training refuses them: repair or remove them, or set "
        "dataset.on_unreadable=drop:\n  Dataset_BUSI_with_GT/normal/broken.png: not an image of a known kind",
        "Under two labels, and dropped with all their copies: "
        "Dataset_BUSI_with_GT/benign/benign (20).png = Dataset_BUSI_with_GT/malignant/malignant (20).png",
        "Equal to an earlier image: 1.",
        "normal 21 instead of 133, benign 20 instead of 437, malignant 20 instead of 210",
        "58 images are smaller than dataset.image_size=224",
    ):
        assert words in out
    folder = run_folder(tmp_path, "audit")
    images = pd.read_csv(folder / "images.csv")
    assert len(images) == 58
    assert images["split"].value_counts().sum() == 58
    assert set(images["width"]) == {40}
    assert (folder / "audit.txt").read_text(encoding="utf-8").strip() in out
    for page in ("samples.png", "like_pictures.png"):
        with Image.open(folder / page) as image:
            assert min(image.size) > 200


def test_audit_goes_on_where_training_would_stop(command, faulty):
    answer = command(audit.main, "dataset=busi", "dataset.root=busi", "dataset.duplicates.on_conflict=error")
    code, out, err = answer.code, answer.out, answer.err
    assert code == 0, err
    assert "Under two labels" in out


def test_interval_of_sensitivity(command, tmp_path):
    """Wilson's interval by hand: with 20 test images of a class, 18 of them found."""
    for part, count in (("train", 40), ("test", 20)):
        write_classes(tmp_path / "images" / part, {"a": count, "b": count}, pattern=f"{part} {{index}}.png")
    out = command(audit.main, "dataset=folder", "dataset.root=images").out
    n, p, z = 20, 0.9, norm.ppf(0.975)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert f"18 of 20 -> 0.90 [{centre - half:.2f}, {centre + half:.2f}]" in out


def test_copies_across_published_parts_are_named(command, tmp_path):
    for part, count in (("train", 20), ("test", 10)):
        write_classes(tmp_path / "images" / part, {"a": count, "b": count}, pattern=f"{part} {{index}}.png")
    copy = (tmp_path / "images/train/a/train 1.png").read_bytes()
    (tmp_path / "images/test/a/test 1.png").write_bytes(copy)
    out = command(audit.main, "dataset=folder", "dataset.root=images").out
    assert "1 patients (or copies of a picture) are in more than one part of the published split" in out
    assert (
        "1 pairs of like pictures lie in different parts of the published split: test/a/test 1.png ~ train/a/train 1"
        in out
    )


def test_colour(command, tmp_path):
    for label in ("a", "b"):
        for index in range(8):
            write_image(tmp_path / "images" / label / f"{index}.png", 40 if label == "a" else 120, "RGB")
    out = command(audit.main, "dataset=folder", "dataset.root=images").out
    assert "RGB (16)" in out
    assert "16 of 16 looked at are in colour" in out


def test_imbalance(command, tmp_path):
    write_classes(tmp_path / "images", {"rare": 8, "common": 88})
    out = command(audit.main, "dataset=folder", "dataset.root=images").out
    assert "Class common has 11 times the images of rare." in out


@pytest.mark.parametrize("main", [audit.main, prepare.main])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset=bussi"], "did you mean 'busi'?"),
        (["dataset.image_sise=3"], "did you mean 'dataset.image_size'?"),
        (["dataset=thyroid"], "there is no such folder"),
        (["dataset.splits.folds=3", "dataset.splits.fold=3"], "the 3 folds are 0 to 2"),
    ],
)
def test_mistakes(command, tmp_path, main, arguments, words):
    answer = command(main, *arguments)
    code, err = answer.code, answer.err
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not any(tmp_path.iterdir()), "a mistake left something behind"


def test_prepare_builds_the_store_and_exports(command, tmp_path):
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    write_classes(tmp_path / "images" / "a", {"other": 1})
    small = ["dataset=folder", "dataset.root=images", "dataset.image_size=32", "dataset.batch_size=8"]
    answer = command(prepare.main, *small, "export=exported")
    code, out, err = answer.code, answer.out, answer.err
    assert code == 0, err
    assert "Image store: data/store/folder_" in out
    splits = pd.read_csv(run_folder(tmp_path, "prepare") / "splits.csv")
    files = {path.relative_to(tmp_path / "exported").as_posix() for path in (tmp_path / "exported").rglob("*.png")}
    assert len(files) == len(splits) == 41
    for path, label, split in zip(splits["path"], splits["class"], splits["split"], strict=True):
        name = path.rsplit("/", 1)[1]
        assert {f"{split}/{label}/{name}", f"{split}/{label}/{name[:-4]} 2.png"} & files
    with Image.open(tmp_path / "exported" / sorted(files)[0]) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")
    answer = command(prepare.main, *small, "export=exported")
    code, err = answer.code, answer.err
    assert code == 2
    assert "nothing is overwritten" in err


def test_download_that_cannot_be_done_says_what_to_fetch(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    answer = command(prepare.main, "dataset=busi")
    code, err = answer.code, answer.err
    assert code == 2
    assert "medclf[download]" in err
    assert "fetch it by hand from https://www.kaggle.com/datasets/aryashah2k" in err


def test_download(command, tmp_path, monkeypatch):
    fetched = tmp_path / "cache" / "1"
    write_classes(fetched / "Dataset_BUSI_with_GT", {"benign": 12, "malignant": 12, "normal": 12})

    class Kaggle:
        @staticmethod
        def dataset_download(name: str) -> str:
            assert name == "aryashah2k/breast-ultrasound-images-dataset"
            return str(fetched)

    monkeypatch.setitem(sys.modules, "kagglehub", Kaggle)
    answer = command(prepare.main, "dataset=busi", "dataset.batch_size=8")
    code, out, err = answer.code, answer.out, answer.err
    assert code == 0, err
    assert len(list((tmp_path / "data" / "busi" / "Dataset_BUSI_with_GT").rglob("*.png"))) == 36
    assert "(36 images" in out
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["busi", "store"]
