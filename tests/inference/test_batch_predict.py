"""However many images there are, few are in memory; and none stops the others."""

import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.batch_predict import AHEAD, predict_stream

COUNT, BATCH = 3000, 8


def engine_of(predict):
    form = SimpleNamespace(image_size=4)
    return SimpleNamespace(predict=predict, model=SimpleNamespace(forms=[form]))


def test_few_images_are_in_memory():
    lock, seen, predicted, most = threading.Lock(), set(), 0, 0

    def see(row):
        with lock:
            seen.add(row)
        return (np.zeros((3, 100, 100), np.uint8),)  # 30 kB: of all, 90 MB

    def predict(images):
        nonlocal most
        most = max(most, len(seen) - predicted)
        return len(images)

    tracemalloc.start()
    for part in predict_stream(engine_of(predict), see, COUNT, BATCH, progress=False):
        predicted += len(part.rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert predicted == COUNT
    assert most <= (AHEAD + 1) * BATCH
    assert peak < 8e6


def test_rows_are_in_order_and_each_is_there_once():
    def see(row):
        if row % 5 == 0:
            raise UnreadableImageError(f"number {row}")
        return (np.full((1, 2, 2), row % 256, np.uint8),)

    def predict(images):
        return [int(image[0][0, 0, 0]) for image in images]

    parts = list(predict_stream(engine_of(predict), see, 100, 7, progress=False, begin=23))
    assert [row for part in parts for row in sorted([*part.rows, *part.unreadable])] == list(range(23, 100))
    assert [value for part in parts for value in part.found] == [row for part in parts for row in part.rows]
    assert all(reason == f"number {row}" for part in parts for row, reason in part.unreadable.items())
    assert not list(predict_stream(engine_of(predict), see, 5, progress=False, begin=5))


def test_who_stops_asking_stops_the_work():
    seen = []

    def see(row):
        seen.append(row)
        return (np.zeros((1, 2, 2), np.uint8),)

    stream = predict_stream(engine_of(len), see, COUNT, BATCH, progress=False)
    next(stream)
    stream.close()
    assert len(seen) <= (AHEAD + 2) * BATCH
