from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from medclf.config.component_registry import CALLBACKS, LOGGERS, build_component, import_component
from medclf.config.schema import Config
from medclf.training.checkpointing import WholeCheckpoints
from medclf.training.random_state_callback import KeepRandomState
from medclf.training.sigterm import EndTogether
from medclf.utils.errors import ConfigError
from medclf.utils.run_dir import Run


def build_trainer(config: Config, run: Run, more: Sequence[Callback] = ()) -> lightning.Trainer:
    """Lightning's Trainer with the callbacks and the logger of the config, all writing into the run folder.

    Args:
        config: of the run.
        run: whose folder it is.
        more: callbacks before those of the config.

    Raises:
        ConfigError: in Lightning's own words, for a value it does not take or a device that is not there.
    """
    trust = config.trust_code
    configured = (_callback(name, node, run.checkpoints, trust) for name, node in config.callbacks.items())
    callbacks = [KeepRandomState(), EndTogether(), *more, *configured]
    logger = build_component("logger", config.logger, LOGGERS, trust, save_dir=str(run.folder))
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


def _callback(name: str, node: dict[str, Any], checkpoints: Path, trust_code: bool) -> Callback:
    key = f"callbacks.{name}"
    made = import_component(key, node, CALLBACKS, trust_code)
    keeps_checkpoints = isinstance(made, type) and issubclass(made, ModelCheckpoint)
    folder = {"dirpath": str(checkpoints)} if keeps_checkpoints else {}
    callback = build_component(key, node, CALLBACKS, trust_code, **folder)
    if not isinstance(callback, Callback):
        raise ConfigError(f"{key}._target_={node['_target_']}: is not a Lightning callback")
    return callback
