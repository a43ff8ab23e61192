import lightning
import numpy as np
import pandas as pd
import torch
import torch.distributed

from medclf.data.datamodule import ImageDataModule
from medclf.evaluation.predictions import predictions_table
from medclf.training.module import ClassifierModule


def predict_splits(trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule) -> pd.DataFrame:
    """The predictions table of val and test; each image once, however many processes there are."""
    loaders = {"val": data.val_dataloader(), "test": data.test_dataloader()}
    outputs = trainer.predict(module, list(loaders.values()))
    assert outputs is not None
    tables = []
    for part, batches in zip(loaders, outputs, strict=True):
        by_row = {
            int(row): row_probabilities
            for index, probabilities in _from_all_processes(batches)
            for row, row_probabilities in zip(index, probabilities.numpy(), strict=True)
        }
        rows = sorted(by_row)
        images = data.table.part(part).iloc[rows]
        tables.append(predictions_table(images, np.stack([by_row[row] for row in rows]), module.classes))
    return pd.concat(tables, ignore_index=True)


def _from_all_processes(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    gathered: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, batches)
    return [batch for process in gathered for batch in process]
