"""Many images through a model: decoded ahead of the network, a batch at a time, so that memory stays flat."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.predictor import Engine, Found, Seen

BATCH = 32
AHEAD = 2
"""Batches that are decoded while the network is at work."""
BATCH_PIXELS = 2**25
"""Pixels of one batch, whatever batch size is typed: 668 images of 224 x 224, two of 4096 x 4096."""


@dataclass(frozen=True)
class Part:
    """Some of the images: the rows that were predicted, what was found of them (None: none was readable), and why the
    others could not be read, by row."""

    rows: list[int]
    found: Found | None
    unreadable: dict[int, str]


def predict_stream(
    engine: Engine,
    see: Callable[[int], Seen],
    count: int,
    batch: int = BATCH,
    progress: bool = True,
    begin: int = 0,
) -> Iterator[Part]:
    """Predict images in order, a batch at a time.

    Args:
        engine: predicts.
        see: gives what the model sees of a row, by ``engine.see``, in a thread of its own; raises UnreadableImageError
            with the reason.
        count: how many images there are.
        batch: images at once; fewer where they have more than ``BATCH_PIXELS`` together.
        progress: whether to show a bar.
        begin: rows before this one are passed over.

    Yields:
        Each batch once it is predicted. Whoever stops asking stops the work.
    """

    def look(row: int) -> Seen | str:
        try:
            return see(row)
        except UnreadableImageError as error:
            return str(error)

    batch = min(batch, most_at_once(engine))
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with tqdm(total=count, initial=begin, desc="Predicting", leave=False, disable=not progress) as bar:
            for rows, looks in _ahead(pool, look, range(begin, count), batch):
                seen = [one.result() for one in looks]
                yield _predicted(engine, dict(zip(rows, seen, strict=True)))
                bar.update(len(rows))
    finally:
        pool.shutdown(cancel_futures=True)


def most_at_once(engine: Engine) -> int:
    """Return how many images a batch may have, so that a model of large images does not exhaust memory."""
    return max(1, BATCH_PIXELS // max(form.image_size**2 for form in engine.model.forms))


def _ahead(
    pool: ThreadPoolExecutor, look: Callable[[int], Seen | str], images: range, batch: int
) -> Iterator[tuple[range, list[Future[Seen | str]]]]:
    waiting: deque[tuple[range, list[Future[Seen | str]]]] = deque()
    for at in range(0, len(images), batch):
        rows = images[at : at + batch]
        waiting.append((rows, [pool.submit(look, row) for row in rows]))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _predicted(engine: Engine, seen: dict[int, Seen | str]) -> Part:
    unreadable = {row: reason for row, reason in seen.items() if isinstance(reason, str)}
    images = {row: image for row, image in seen.items() if not isinstance(image, str)}
    return Part(list(images), engine.predict(list(images.values())) if images else None, unreadable)
