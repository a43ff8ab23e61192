from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from medclf.config.schema import Config
from medclf.errors import ConfigError
from medclf.runs import Run
from medclf.training.checkpoint_io import WholeCheckpoints
from medclf.training.keep_random_state import KeepRandomState
from medclf.training.sigterm import EndTogether


def build_trainer(config: Config, run: Run, more: Sequence[Callback] = ()) -> lightning.Trainer:
    """Lightning's Trainer with the callbacks and the logger of the config, all writing into the run folder.

    Args:
        config: of the run.
        run: whose folder it is.
        more: callbacks before those of the config.

    Raises:
        ConfigError: in Lightning's own words, for a value it does not take or a device that is not there.
    """
    configured = (_callback(name, node, run.checkpoints) for name, node in config.callbacks.items())
    callbacks = [KeepRandomState(), EndTogether(), *more, *configured]
    logger = _built("logger", {**config.logger, "save_dir": str(run.folder)})
    arguments = config.trainer.model_dump()
    if arguments["accelerator"] == "cpu" or not torch.cuda.is_available():
        arguments["sync_batchnorm"] = False  # torch can do it on GPUs alone
    plugins = [WholeCheckpoints(), *(arguments.pop("plugins") or [])]
    try:
        return lightning.Trainer(
            **arguments, plugins=plugins, callbacks=callbacks, logger=logger, default_root_dir=run.folder
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {error}") from error


def _callback(name: str, node: dict[str, Any], checkpoints: Path) -> Callback:
    key = f"callbacks.{name}"
    try:
        keeps_checkpoints = issubclass(get_class(node["_target_"]), ModelCheckpoint)
    except Exception as error:  # Hydra raises several kinds for a path that cannot be imported
        raise ConfigError(f"{key}._target_={node['_target_']}: cannot be imported: {error}") from error
    callback = _built(key, {"dirpath": str(checkpoints), **node} if keeps_checkpoints else node)
    if not isinstance(callback, Callback):
        raise ConfigError(f"{key}._target_={node['_target_']}: is no Lightning callback")
    return callback


def _built(key: str, node: dict[str, Any]) -> Any:
    try:
        return instantiate(node)
    except HydraException as error:
        raise ConfigError(f"{key}: cannot be built: {error}") from error
