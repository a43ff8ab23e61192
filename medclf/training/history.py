import logging
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def history_of(folder: Path) -> pd.DataFrame | None:
    """What TensorBoard was told of each epoch: ``epoch`` and a column ``train/…`` or ``val/…`` for each metric.

    Args:
        folder: of the run; a run that was resumed has several event files.

    Returns:
        A row an epoch; None where TensorBoard was told nothing.
    """
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it tells where it looks
    # images are not read, of scalars all
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1, "tensors": 1, "histograms": 1})
    events.Reload()
    tags = events.Tags()["scalars"]
    if "epoch" not in tags:
        return None
    epoch_of = {event.step: int(event.value) for event in events.Scalars("epoch")}
    rows: dict[int, dict[str, float]] = {}
    for tag in sorted(tag for tag in tags if tag.startswith(("train/", "val/"))):
        for event in events.Scalars(tag):
            if event.step in epoch_of:
                rows.setdefault(epoch_of[event.step], {})[tag] = float(event.value)
    frame = pd.DataFrame.from_dict(rows, orient="index").sort_index()
    return frame.rename_axis("epoch").reset_index()
