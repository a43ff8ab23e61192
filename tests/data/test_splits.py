"""Leak-free, stratified, the same for every run."""

from pathlib import Path

import pandas as pd
import pytest
from helpers.images import dataset, write_classes

from medclf.config.consistency_validation import validate_dataset_config
from medclf.data.sources.discovery import find_images
from medclf.data.sources.records import FoundImage, FoundImages
from medclf.data.splits import split_images
from medclf.utils.errors import ConfigError, DataError


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


def patients(classes=(("a", 30), ("b", 22))):
    """Patients with one to four images each."""
    images = [
        FoundImage(f"{label}/p{patient}_{shot}.png", label, f"{label}{patient}", None)
        for label, count in classes
        for patient in range(count)
        for shot in range(1 + patient % 4)
    ]
    return FoundImages(images, [label for label, _ in classes])


def fold(index, *overrides, folds=5, found=None):
    config = dataset(Path("x"), f"dataset.splits.folds={folds}", f"dataset.splits.fold={index}", *overrides)
    return split_images(found or patients(), config)


def test_every_image_is_tested_in_one_fold():
    tested = []
    for index in range(5):
        frame = fold(index).frame
        assert (frame.groupby("group")["split"].nunique() == 1).all()
        tested += frame.loc[frame["split"] == "test", "path"].tolist()
        share = (frame["split"] == "test").groupby(frame["class"]).mean()
        assert share.between(0.05, 0.4).all()  # few patients, and scikit-learn's folds differ between releases
        rest = frame[frame["split"] != "test"]
        assert (rest["split"] == "val").mean() == pytest.approx(0.15, abs=0.06)
    assert sorted(tested) == sorted(image.path for image in patients().images)


def test_folds_have_a_seed():
    assert fold(0).digest() == fold(0, "seed=3").digest()
    assert fold(0).digest() != fold(0, "dataset.splits.seed=1").digest()


def test_folds_are_noted():
    notes = fold(2).notes
    assert "The test split is fold 2 of 5, cut with seed 0." in notes
    assert not any("not used" in note for note in notes)


def test_folds_over_given_parts(tmp_path):
    for part, count in (("train", 20), ("test", 10)):
        write_classes(tmp_path / part, {"a": count, "b": count})
    images = table(tmp_path, "dataset.splits.folds=3", "dataset.batch_size=4")
    assert set(images.part("test")["path"].str.split("/").str[0]) == {"train", "test"}
    assert "The parts that the source gives are not used." in images.notes


@pytest.mark.parametrize("index", [5, 9])
def test_fold_that_there_is_not(index):
    config = dataset(Path("x"), "dataset.splits.folds=5", f"dataset.splits.fold={index}")
    with pytest.raises(ConfigError, match=f"dataset.splits.fold={index}: the 5 folds are 0 to 4"):
        validate_dataset_config(config)


def test_last_fold_passes_the_check():
    validate_dataset_config(dataset(Path("x"), "dataset.splits.folds=5", "dataset.splits.fold=4"))


def test_class_of_fewer_patients_than_folds():
    with pytest.raises(DataError, match=r"5 are needed: b has 4"):
        fold(0, found=patients((("a", 30), ("b", 4))))


def read_back(file, *overrides, found=None):
    config = dataset(Path("x"), f"dataset.splits.file='{file}'", "dataset.batch_size=4", *overrides)
    return split_images(found or patients(), config)


def test_saved_split_is_read_back(tmp_path):
    saved = fold(3)
    saved.save(tmp_path / "splits.csv")
    again = read_back(tmp_path / "splits.csv", "dataset.splits.seed=9")
    assert again.digest() == saved.digest()
    assert again.notes == [f"The split is read from {tmp_path / 'splits.csv'}."]


def test_read_split_goes_before_folds_and_folders(tmp_path):
    for part, count in (("train", 20), ("test", 10)):
        write_classes(tmp_path / "set" / part, {"a": count, "b": count})
    frame = table(tmp_path / "set", "dataset.batch_size=4").frame
    own = frame.assign(split=frame["path"].map(lambda path: "val" if "(3)" in path or "(5)" in path else "train"))
    own.loc[own["path"].str.contains(r"\(4\)|\(6\)"), "split"] = "test"
    own[["split", "path"]].to_csv(tmp_path / "own.csv", index=False)
    file = f"dataset.splits.file='{tmp_path / 'own.csv'}'"
    read = table(tmp_path / "set", file, "dataset.splits.folds=3", "dataset.batch_size=4").frame
    assert read["split"].tolist() == own["split"].tolist()
    assert set(read["split"]) == {"train", "val", "test"}


def edited(tmp_path, change):
    """A saved split, changed by a function of its frame; the error's message."""
    frame = fold(0).frame.copy()
    change(frame).to_csv(tmp_path / "splits.csv", index=False)
    with pytest.raises(DataError) as error:
        read_back(tmp_path / "splits.csv")
    assert "splits.csv" in str(error.value)
    return str(error.value)


def test_split_file_without_a_column(tmp_path):
    message = edited(tmp_path, lambda frame: frame.rename(columns={"split": "part"}))
    assert "has no column 'split'; Columns: path, class, group, part" in message


def test_split_file_without_a_row_for_an_image(tmp_path):
    message = edited(tmp_path, lambda frame: frame.drop(index=[0, 3]))
    gone = ", ".join(fold(0).frame["path"][[0, 3]])
    assert f"2 images have no row: {gone}" in message


def test_split_file_with_another_split(tmp_path):
    message = edited(tmp_path, lambda frame: frame.assign(split=frame["split"].replace("val", "dev")))
    assert "1 splits are none of train, val, test: dev" in message


def test_split_file_that_tears_a_patient(tmp_path):
    def tear(frame):
        row = frame.index[(frame["group"] == "a3")][0]
        other = "train" if frame["split"][row] == "val" else "val"
        return frame.assign(split=frame["split"].where(frame.index != row, other))

    assert "1 patients (or copies of a picture) are in several splits: a3" in edited(tmp_path, tear)


def test_split_file_that_names_an_image_twice(tmp_path):
    """With two splits for it, none can be right."""

    def twice(frame):
        row = frame.iloc[[0]]
        return pd.concat([frame, row.assign(split="val" if row["split"].item() == "train" else "train")])

    assert fold(0).frame["path"][0] in edited(tmp_path, twice)


def test_rows_of_other_images_are_noted(tmp_path):
    saved = fold(0)
    extra = pd.DataFrame({"path": ["gone.png", "c/gone.png"], "split": ["train", "val"]})
    pd.concat([saved.frame, extra]).to_csv(tmp_path / "splits.csv", index=False)
    images = read_back(tmp_path / "splits.csv")
    assert "2 rows of it are of images that are not used." in images.notes
    assert images.digest() == saved.digest()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00path"])
def test_split_file_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "splits.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"splits\.csv: (there is no such file|is empty|is UTF-16)"):
        read_back(tmp_path / "splits.csv")


def test_split_file_without_a_part(tmp_path):
    fold(0).frame.assign(split="train").to_csv(tmp_path / "splits.csv", index=False)
    with pytest.raises(DataError) as error:
        read_back(tmp_path / "splits.csv")
    assert "the val split has no image of class a, b" in str(error.value)


def test_patients_with_images_of_both_classes():
    images = [
        FoundImage(f"{label}/{patient}.png", label, f"p{patient}", None)
        for label in ("a", "b")
        for patient in range(20)
    ]
    config = dataset(Path("x"), "dataset.batch_size=8")
    frame = split_images(FoundImages(images, ["a", "b"]), config).frame
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    assert frame["split"].value_counts().to_dict() == {"train": 28, "val": 6, "test": 6}
