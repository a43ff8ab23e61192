"""What TensorBoard shows of a finished run, beside the curves that training logged."""

import math
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from medclf.config.schema import Config
from medclf.evaluation.metrics import Metrics


def log_results(
    logger: TensorBoardLogger, config: Config, results: dict[str, Metrics], figures: dict[str, Figure], step: int
) -> None:
    """Log the test metrics, the figures, and the hyperparameters with the final validation metrics.

    Args:
        logger: of the run.
        config: of the run.
        results: metrics of the best checkpoint by split, ``val`` and ``test``.
        figures: by tag.
        step: the training step of the best checkpoint.
    """
    logger.log_metrics({f"test/{name}": value for name, value in results["test"].values.items()}, step)
    for tag, figure in figures.items():
        logger.experiment.add_figure(tag, figure, step, close=False)
    final = {f"val_best/{name}": value for name, value in results["val"].values.items() if not math.isnan(value)}
    logger.log_hyperparams(hyperparameters(config), final, step)
    logger.save()


def hyperparameters(config: Config) -> dict[str, Any]:
    """What one would compare runs by, flat."""
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
