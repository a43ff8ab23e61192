"""Leak-free, stratified, the same for every run."""

from pathlib import Path

import pytest
from conftest import dataset, write_classes

from medclf.data.sources.find import find_images
from medclf.data.sources.found import FoundImage, FoundImages
from medclf.data.splits import split_images
from medclf.errors import ConfigError, DataError


def table(root, *overrides, name="folder"):
    config = dataset(root, *overrides, name=name)
    return split_images(find_images(config), config)


def test_shares_of_a_set_without_split_folders(two_classes):
    frame = table(two_classes, "dataset.splits.test=0.3", "dataset.splits.val=0.2", "dataset.batch_size=8").frame
    counts = frame.groupby(["split", "class"]).size()
    assert counts["test"].to_dict() == {"cat": 9, "dog": 6}
    assert counts["val"].to_dict() == {"cat": 6, "dog": 4}
    assert counts["train"].to_dict() == {"cat": 15, "dog": 10}


def test_published_validation_becomes_the_test_split(tmp_path):
    write_classes(tmp_path / "train", {"x_absent": 20, "x_present": 20})
    write_classes(tmp_path / "validation", {"x_absent": 5, "x_present": 5})
    images = table(tmp_path)
    test = images.part("test")
    assert set(test["path"].str.split("/").str[0]) == {"validation"}
    assert len(test) == 10
    assert len(images.part("val")) == 6
    assert any("validation part is the test split" in note for note in images.notes)


def test_published_three_splits_are_kept(tmp_path):
    for part, count in (("train", 6), ("val", 3), ("test", 4)):
        write_classes(tmp_path / part, {"a": count, "b": count})
    frame = table(tmp_path, "dataset.batch_size=2").frame
    assert (frame["split"] == frame["path"].str.split("/").str[0]).all()


def test_pneumonia_validation_joins_train_and_ours_is_cut_by_patient(tmp_path):
    write_classes(tmp_path / "train", {"NORMAL": 40}, pattern="IM-{index:04d}-0001.jpeg")
    for shot in (1, 2, 3):
        write_classes(tmp_path / "train", {"PNEUMONIA": 30}, pattern=f"person{{index}}_virus_{shot}.jpeg")
    write_classes(tmp_path / "val", {"NORMAL": 8, "PNEUMONIA": 8}, pattern="x{index}.jpeg")
    write_classes(tmp_path / "test", {"NORMAL": 5, "PNEUMONIA": 5}, pattern="person{index}_bacteria_9.jpeg")
    images = table(tmp_path, name="pneumonia")
    assert set(images.part("test")["path"].str.split("/").str[0]) == {"test"}
    own = images.frame[images.frame["split"] != "test"]
    assert (own.groupby("group")["split"].nunique() == 1).all()
    share = (own["split"] == "val").groupby(own["class"]).mean()
    assert share.between(0.08, 0.22).all()
    assert any("5 patients (or copies of a picture) are in more than one part" in note for note in images.notes)


@pytest.mark.parametrize("seed", range(5))
def test_a_patient_is_in_one_split(seed):
    images = [
        FoundImage(f"{label}/p{patient}_{shot}.png", label, f"{label}{patient}", None)
        for label, patients in (("a", 30), ("b", 22))
        for patient in range(patients)
        for shot in range(1 + patient % 4)
    ]
    config = dataset(Path("x"), f"dataset.splits.seed={seed}")
    frame = split_images(FoundImages(images, ["a", "b"]), config).frame
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    shares = frame["split"].value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.15, abs=0.06)
    assert shares["test"] == pytest.approx(0.15, abs=0.06)
    by_class = frame.groupby("class")["split"].value_counts(normalize=True).unstack()
    assert (by_class.loc["a"] - by_class.loc["b"]).abs().max() < 0.12


def test_the_split_has_its_own_seed(two_classes):
    first = table(two_classes)
    assert first.digest() == table(two_classes, "seed=7").digest()
    assert first.digest() != table(two_classes, "dataset.splits.seed=1").digest()


def test_class_too_small_for_three_splits(tmp_path):
    write_classes(tmp_path, {"a": 30, "b": 2})
    with pytest.raises(DataError, match=r"too few images .* b has 2"):
        table(tmp_path, "dataset.batch_size=8")


def test_class_missing_from_a_published_split(tmp_path):
    write_classes(tmp_path / "train", {"a": 20, "b": 20})
    write_classes(tmp_path / "test", {"a": 5})
    with pytest.raises(DataError, match="the test split has no image of class b"):
        table(tmp_path)


def test_test_folder_without_train_folder(tmp_path):
    write_classes(tmp_path / "test", {"a": 20, "b": 20})
    with pytest.raises(DataError, match="no train part"):
        table(tmp_path)


def test_batch_larger_than_the_training_split(two_classes):
    with pytest.raises(ConfigError, match=r"dataset.batch_size=36: larger than the training split of 3\d images"):
        table(two_classes, "dataset.batch_size=36")
