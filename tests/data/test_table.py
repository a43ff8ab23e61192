"""The image table in words."""

import pandas as pd
import pytest

from medclf.data.table import ImageTable


@pytest.mark.parametrize("classes", [["cat", "dog"], ["all", "none"], ["split", "class"]])
def test_counts_of_classes_whatever_they_are_called(classes):
    parts = ["train", "train", "val", "test"] * 2
    labels = [classes[0]] * 4 + [classes[1]] * 4
    frame = pd.DataFrame({"path": map(str, range(8)), "class": labels, "group": "", "split": parts})
    lines = [line.split() for line in ImageTable(frame, classes, []).counts().splitlines()]
    assert lines[0] == ["split", "train", "val", "test", "all"]
    assert [line for line in lines[1:] if len(line) > 1] == [
        [classes[0], "2", "1", "1", "4"], [classes[1], "2", "1", "1", "4"], ["all", "4", "2", "2", "8"]
    ]  # fmt: skip
