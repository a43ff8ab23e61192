"""The loggers of a run: how they are built, and what they get besides the metrics of each epoch."""

import io
import math
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image

from medclf.config.callback_schemas import CSV_LOGGER, MLFLOW_LOGGER, TENSORBOARD_LOGGER, WANDB_LOGGER
from medclf.config.component_registry import LOGGERS, TARGET, build_component
from medclf.config.schema import TrainConfig
from medclf.evaluation.metric_intervals import Metrics
from medclf.training.tensorboard import collect_hyperparameters, list_metric_rows, log_to_tensorboard
from medclf.utils.errors import ConfigError
from medclf.utils.run_folder import Run

COLUMNS = ["metric", "value [95 % interval]", "n"]
TRACKING_URI = "MLFLOW_TRACKING_URI"
"""Environment variable that names the store of MLflow."""


def build_loggers(config: TrainConfig, run: Run) -> list[Logger]:
    """Build the loggers of a run, which write into its folder unless a server is set.

    Args:
        config: training configuration of the run.
        run: run folder.

    Raises:
        ConfigError: for a logger that cannot be built.
    """
    _finish_previous_wandb_run()
    loggers = []
    for name, node in config.logger.items():
        given = {key: value for key, value in node.items() if value is not None or key not in _defaults(node, run)}
        logger = build_component(f"logger.{name}", given, LOGGERS, config.trust_code, **_defaults(node, run))
        if not isinstance(logger, Logger):
            raise ConfigError(f"logger.{name}.{TARGET}={node[TARGET]}: is not a Lightning logger")
        loggers.append(logger)
    return loggers


def _defaults(node: Mapping[str, Any], run: Run) -> dict[str, str]:
    """Return the arguments of a logger that depend on the run."""
    if node[TARGET] == MLFLOW_LOGGER:
        return {"tracking_uri": _tracking_uri(node, run), "run_name": run.folder.name}
    name = {"name": run.folder.name} if node[TARGET] == WANDB_LOGGER else {}
    return {"save_dir": str(run.folder), **name}


def _tracking_uri(node: Mapping[str, Any], run: Run) -> str:
    folder = (run.folder.absolute() / "mlruns").as_uri()
    return str(node.get("tracking_uri") or os.environ.get(TRACKING_URI) or folder)


def _finish_previous_wandb_run() -> None:
    """End the W&B run of an earlier job of this process, which W&B would continue."""
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def log_results(
    loggers: Iterable[Logger], config: TrainConfig, results: Mapping[str, Metrics], plots: dict[str, bytes], step: int
) -> None:
    """Log the test metrics, the plots, and the hyperparameters with the final validation metrics.

    Args:
        loggers: loggers of the run.
        config: training configuration of the run.
        results: metrics of the best checkpoint by split, ``val`` and ``test``.
        plots: PNG files by name; loggers that do not support images leave them out.
        step: training step of the best checkpoint.
    """
    validation = results["val"].overall if "val" in results else {}
    final = {f"val_best/{name}": found.value for name, found in validation.items() if not math.isnan(found.value)}
    test = {f"test/{name}": found.value for name, found in results["test"].overall.items()}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            log_to_tensorboard(logger, config, results["test"], final, plots, step)
            continue
        logger.log_metrics({name: value for name, value in {**test, **final}.items() if not math.isnan(value)}, step)
        logger.log_hyperparams(collect_hyperparameters(config))
        for name, png in plots.items():
            _log_image(logger, f"evaluation/{name}", Image.open(io.BytesIO(png)), step)
        _log_table(logger, list_metric_rows(results["test"]), step)
        logger.save()
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def log_figure(loggers: Iterable[Logger], name: str, figure: Figure, step: int = 0) -> None:
    """Log a figure with every logger that supports images.

    Args:
        loggers: loggers of the run.
        name: name of the image, such as ``samples/train``.
        figure: image.
        step: training step.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, step)
        elif supports_images(logger):
            file = io.BytesIO()
            figure.savefig(file, format="png")
            _log_image(logger, name, Image.open(file), step)


def supports_images(logger: Logger) -> bool:
    """Return whether a logger takes images."""
    return isinstance(logger, TensorBoardLogger | MLFlowLogger | WandbLogger)


def _log_image(logger: Logger, name: str, image: Image.Image, step: int) -> None:
    if isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, image, artifact_file=f"{name}.png")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [image], step)


def _log_table(logger: Logger, rows: list[list[str]], step: int) -> None:
    """Log the test metrics with their intervals as a table."""
    if isinstance(logger, MLFlowLogger):
        table = {column: [row[at] for row in rows] for at, column in enumerate(COLUMNS)}
        logger.experiment.log_table(logger.run_id, table, artifact_file="evaluation/metrics.json")
    elif isinstance(logger, WandbLogger):
        logger.log_table("evaluation/metrics", columns=COLUMNS, data=rows, step=step)


def list_viewers(config: TrainConfig, run: Run) -> list[str]:
    """Return where to look at the logs of a run: a command, a file or an address for each known logger."""
    found = [_viewer(node, run) for node in config.logger.values()]
    return [text for text in found if text is not None]


def _viewer(node: Mapping[str, Any], run: Run) -> str | None:
    below_runs = Path.cwd() / "runs" in run.folder.absolute().parents
    if node[TARGET] == TENSORBOARD_LOGGER:
        return f"tensorboard --logdir {'runs' if below_runs else shlex.quote(run.shown)}"
    if node[TARGET] == CSV_LOGGER:
        return "/".join([run.shown, *([node["name"]] if node.get("name") else []), "*", "metrics.csv"])
    if node[TARGET] == MLFLOW_LOGGER:
        uri = _tracking_uri(node, run)
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    if node[TARGET] == WANDB_LOGGER:
        offline = f"wandb sync {shlex.quote(run.shown)}/wandb/offline-run-*"
        return offline if node.get("offline", False) else f"https://wandb.ai, project {node.get('project')}"
    return None
