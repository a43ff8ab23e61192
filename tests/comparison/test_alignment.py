import pandas as pd
import pytest
from helpers.run_folders import table

from medclf.comparison.alignment import align_predictions
from medclf.utils.errors import DataError


def refused(first, second):
    with pytest.raises(DataError) as caught:
        align_predictions({"cnn": first, "resnet50": second})
    return str(caught.value)


def test_other_images_are_refused():
    said = refused(table(n=20), table(n=24).iloc[2:])
    assert "cnn and resnet50: 2 images (0.png, 1.png) of 20 only in cnn" in said
    assert "4 images (20.png, 21.png, 22.png and 1 more) of 22 only in resnet50" in said


def test_other_true_classes_are_refused():
    other = table(n=20)
    other.loc[3, "true_class"] = "NORMAL"
    assert "different true classes of 1 image (3.png)" in refused(table(n=20), other)


def test_other_classes_are_refused():
    other = table(n=20).rename(columns={"prob_PNEUMONIA": "prob_VIRUS"}).replace({"true_class": {"PNEUMONIA": "VIRUS"}})
    assert "different classes: NORMAL, PNEUMONIA; NORMAL, VIRUS" in refused(table(n=20), other)


def test_other_patients_are_refused():
    other = table(n=20)
    other.loc[[4, 6], "group"] = "one"
    assert "different patients (column group): 2 images (4.png, 6.png)" in refused(table(n=20), other)
    assert "different patients (column group): 2 images (4.png, 6.png)" in refused(other, table(n=20))


def test_images_that_occur_twice_are_refused():
    twice = table(n=20)
    twice.loc[5, "path"] = "0.png"
    assert "resnet50: 1 image (0.png) occur more than once" in refused(table(n=20), twice)


def test_only_test_images_must_agree():
    validation = table(n=10).assign(split="val", path=[f"v{index}" for index in range(10)])
    both = pd.concat([table(n=20), validation], ignore_index=True)
    assert {len(rows) for rows in align_predictions({"a": table(n=20), "b": both}).values()} == {20}
