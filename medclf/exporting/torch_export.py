"""torch.export, for torch without medclf, on a CPU.

extra = {"medclf.json": ""}
network = torch.export.load("model.pt2", extra_files=extra).module()
probabilities, predicted = network(images)
print(json.loads(extra["medclf.json"])["classes"][predicted[0]])

The torch that loads it should be no older than the one that wrote it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from medclf.config.schema import ImageSpecConfig
from medclf.exporting.graph import Runner

EXTRA = "medclf.json"


def write(
    program: ExportedProgram, path: Path, inputs: Mapping[str, ImageSpecConfig], content: Mapping[str, Any]
) -> None:
    """Write one file.

    Args:
        program: the graph.
        path: of the file.
        inputs: the form of each input; torch takes them by their place.
        content: goes into its extra file ``medclf.json``.
    """
    torch.export.save(program, path, extra_files={EXTRA: json.dumps(content, ensure_ascii=False)})


def load(path: Path) -> Runner:
    """Load the file in torch."""
    network = torch.export.load(path).module()

    def run(images: Sequence[NDArray[Any]]) -> Any:
        return [output.numpy() for output in network(*map(torch.from_numpy, images))]

    return run
