"""The model as one ships it: its weights, and beside them what one must know to use them."""

from pathlib import Path
from typing import Any

import torch

from medclf.config.schema import Config
from medclf.data.image_table import ImageTable
from medclf.evaluation.evaluate import Evaluation
from medclf.inference.model_files import facts_of
from medclf.models.state_dict import plain_state
from medclf.training.module import ClassifierModule
from medclf.utils.atomic_write import written_whole
from medclf.utils.file_digests import model_digests
from medclf.utils.plain_data import write_json


def save_best(
    module: ClassifierModule,
    config: Config,
    table: ImageTable,
    evaluation: Evaluation,
    chosen: dict[str, Any],
    path: Path,
) -> None:
    """Write ``best.pth``, a state dict with plain names and no code in it, and ``best.json`` beside it.

    Args:
        module: with the weights of the best checkpoint.
        config: of the run.
        table: the images of the run.
        evaluation: with what was chosen on validation: threshold and temperature.
        chosen: how the checkpoint was chosen: ``epoch``, ``monitor`` and its value.
        path: of ``best.pth``, next to which ``novelty.npz`` lies where there is one: ``best.json`` holds the SHA-256 of
            both.
    """
    with written_whole(path) as file:
        torch.save(plain_state(module.network), file)
    facts = path.with_suffix(".json")
    write_json(facts, describe(module, config, table, evaluation) | chosen | {"sha256": model_digests(facts)})


def describe(module: ClassifierModule, config: Config, table: ImageTable, evaluation: Evaluation) -> dict[str, Any]:
    """What one must know to use the weights: what ``facts_of`` gives, and of what the network is built.

    ``mean`` and ``sd`` are for pixels of 0 to 1. ``sigmoid`` is the probability of the second class.
    """
    dataset = config.dataset
    return {
        **facts_of(evaluation, dataset.name, table.digest()),
        "kind": "network",
        "output": config.model.output,
        "precision": "float32" if str(config.trainer.precision).startswith(("32", "64")) else "mixed",
        "preprocessing": {
            **dataset.model_dump(include={"channels", "image_size", "resize", "clahe"}),
            "mean": module.network.mean.flatten().tolist(),
            "sd": module.network.sd.flatten().tolist(),
        },
        "model": config.model.model_dump(include={"name", "backbone", "head"}),
    }
