from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
import torch.distributed
from torch import Tensor, nn

from medclf.data.datamodule import ImageDataModule
from medclf.evaluation.predictions import predictions_table
from medclf.models.batchnorm_folding import folded
from medclf.training.module import ClassifierModule
from medclf.utils.errors import DataError

Outputs = list[tuple[torch.Tensor, torch.Tensor]]
Look = Callable[[str, Tensor], None]
"""Takes the name of a split, and the features (n, f) that the network makes of a batch of it in this process."""


def predict_splits(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, look: Look | None = None
) -> pd.DataFrame:
    """The predictions table of val and test; each image once, however many processes there are.

    Args:
        trainer: that trained.
        module: whose network predicts.
        data: of the run.
        look: is shown the features on the way.
    """
    parts = [predict_split(trainer, module, data, part, look) for part in ("val", "test")]
    return pd.concat(parts, ignore_index=True)


def predict_split(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, part: str, look: Look | None = None
) -> pd.DataFrame:
    """The predictions table of one split; each BatchNorm is folded into its convolution, where images are looked at."""
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    network = module.network
    module.network = folded(network) if data.datasets[part].features is None else network
    try:
        with _shown(module.network.head, part, look):
            outputs: Any = trainer.predict(module, loader)
    finally:
        module.network = network
    by_row = {
        int(row): row_probabilities
        for index, probabilities in _from_all_processes(outputs)
        for row, row_probabilities in zip(index, probabilities.numpy(), strict=True)
    }
    table = data.table.part(part)
    if sorted(by_row) != list(range(len(table))):
        raise DataError(
            f"trainer: only {len(by_row)} of {len(table)} {part} images were predicted; do not limit the batches of "
            "prediction: trainer.limit_predict_batches=1.0"
        )
    splits = data.config.splits
    fold = None if splits.folds is None else splits.fold
    probabilities = np.stack([by_row[row] for row in range(len(table))])
    return predictions_table(table, probabilities, module.classes, fold)


def _shown(head: nn.Module, part: str, look: Look | None) -> AbstractContextManager[object]:
    return nullcontext() if look is None else head.register_forward_pre_hook(lambda _, given: look(part, given[0]))


def _from_all_processes(batches: Outputs) -> Outputs:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    gathered: list[Outputs] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, batches)
    return [batch for process in gathered for batch in process]
