"""TensorBoard: what it shows of a finished run besides the curves, and event files that were cut off."""

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from medclf.config.schema import TrainConfig
from medclf.evaluation.metric_intervals import Metrics


def log_to_tensorboard(
    logger: TensorBoardLogger,
    config: TrainConfig,
    test: Metrics,
    final: dict[str, float],
    plots: dict[str, bytes],
    step: int,
) -> None:
    """Log the test metrics, the plots, and the hyperparameters with the final validation metrics.

    Scalars are below ``test/``, plots below ``evaluation/``, the table of test metrics with their intervals is the
    text ``evaluation/metrics``.

    Args:
        logger: TensorBoard logger of the run.
        config: training configuration of the run.
        test: test metrics of the best checkpoint.
        final: validation metrics of the best checkpoint by name, ``val_best/…``.
        plots: PNG files by name.
        step: training step of the best checkpoint.
    """
    logger.log_metrics({f"test/{name}": found.value for name, found in test.overall.items()}, step)
    values = [Summary.Value(tag=f"evaluation/{name}", image=_image(png)) for name, png in plots.items()]
    logger.experiment.file_writer.add_summary(Summary(value=values), step)
    logger.experiment.add_text("evaluation/metrics", _markdown(test), step)
    logger.log_hyperparams(collect_hyperparameters(config), final, step)
    logger.save()


@contextmanager
def complete_events(folder: Path) -> Iterator[None]:
    """If this block fails, as on a full disk, cut what is left of an unfinished record off the event files.

    Args:
        folder: of the run.
    """
    try:
        yield
    except Exception:
        for path in folder.glob("events.out.tfevents.*"):
            with suppress(OSError):
                os.truncate(path, _end_of_records(path))
        raise


def _end_of_records(path: Path) -> int:
    """Return the size of the whole records: of each its length (8 bytes), a checksum, the content, a checksum."""
    size, end = path.stat().st_size, 0
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            following = end + 16 + int(struct.unpack("<Q", head[:8])[0])
            if following > size:
                break
            end = following
            file.seek(end)
    return end


def _image(png: bytes) -> Summary.Image:
    """A PNG file as it is: add_image would decode it and encode it again."""
    width, height = Image.open(io.BytesIO(png)).size
    return Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)


def list_metric_rows(metrics: Metrics) -> list[list[str]]:
    """Return name, value with interval, and number of images of each metric."""
    return [[name, str(found), str(found.n)] for name, found in metrics.overall.items()]


def _markdown(metrics: Metrics) -> str:
    rows = [f"| {' | '.join(row)} |" for row in list_metric_rows(metrics)]
    return "\n".join(["| metric | value [95 % interval] | n |", "|---|---|---|", *rows])


def collect_hyperparameters(config: TrainConfig) -> dict[str, Any]:
    """Return the settings by which runs are compared, with flat keys."""
    return {
        "dataset": config.dataset.name,
        "model": config.model.name,
        "weights": config.model.weights,
        "frozen": config.model.frozen,
        "head": config.model.head["_target_"].rsplit(".", 1)[-1],
        "augmentation": config.augmentation.name,
        "mixup": config.augmentation.mixup,
        "cutmix": config.augmentation.cutmix,
        "loss": config.loss.name,
        "class_weights": str(config.loss.class_weights),
        "label_smoothing": config.loss.label_smoothing,
        "scheduler": config.scheduler.name,
        "image_size": config.dataset.image_size,
        "batch_size": config.dataset.batch_size,
        "max_epochs": config.trainer.max_epochs,
        "precision": str(config.trainer.precision or "32-true"),
        "optimizer": config.optimizer.target.rsplit(".", 1)[-1],
        **config.optimizer.model_dump(exclude={"target"}),
        "split_seed": config.dataset.splits.seed,
        "seed": config.seed,
    }
