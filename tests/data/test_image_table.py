"""The image table in words."""

import time

import numpy as np
import pandas as pd
import pytest

from medclf.data.image_table import ImageTable, attributes_frame
from medclf.data.sources.records import FoundImage
from medclf.evaluation.predictions import predictions_table
from medclf.evaluation.predictions_io import load_predictions


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


def test_the_time_of_a_wide_table_does_not_grow_with_the_square_of_its_columns(tmp_path):
    """Ten times the columns took 30 times as long when each column was added by itself."""

    def seconds(columns):
        known = {f"c{at}": str(at) for at in range(columns)}
        images = [FoundImage(f"{at}.png", "ab"[at % 2], str(at), None, known) for at in range(30)]
        frame = pd.DataFrame({"path": [image.path for image in images], "class": [image.label for image in images]})
        frame = frame.assign(group=frame["path"], split="test")
        begin = time.process_time()
        frame = frame.join(attributes_frame(images))
        ImageTable(frame, ["a", "b"], []).save(tmp_path / "splits.csv")
        predictions = predictions_table(frame, np.full((30, 2), 0.5), ["a", "b"])
        predictions.to_csv(tmp_path / "predictions.csv", index=False)
        assert len(load_predictions(tmp_path / "predictions.csv").columns) == columns + 8
        return time.process_time() - begin

    seconds(10)
    assert seconds(6000) < 20 * max(seconds(600), 0.02)
