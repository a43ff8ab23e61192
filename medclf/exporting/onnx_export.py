"""ONNX, for ONNX Runtime and what else reads it.

session = onnxruntime.InferenceSession("model.onnx")
about = session.get_modelmeta().custom_metadata_map
probabilities, predicted = session.run(None, {"images": images})
print(json.loads(about["classes"])[predicted[0]])
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch.export import ExportedProgram

from medclf.config.schema import ImageSpecConfig
from medclf.exporting.export_metadata import OUTPUTS, to_text
from medclf.exporting.graph import Runner

OPSET = 18
"""The exporter's own, so that nothing is converted, and of 2022: ONNX Runtime reads it from 1.14 on."""


def write(
    program: ExportedProgram, path: Path, inputs: Mapping[str, ImageSpecConfig], content: Mapping[str, Any]
) -> None:
    """Write one file, the weights in it.

    Args:
        program: the graph.
        path: of the file.
        inputs: the form of each input.
        content: goes into ``metadata_props``, as text.
    """
    made = torch.onnx.export(
        program,
        (),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(inputs),
        output_names=list(OUTPUTS),
        dynamic_shapes=tuple({0: "n"} for _ in inputs),
        verbose=False,
    )
    assert made is not None  # it is with dynamo
    ClearMetadataAndDocStringPass()(made.model)  # where each node came from, with paths of this machine
    made.model.metadata_props.update(to_text(content))
    made.save(path, external_data=False)


def load(path: Path) -> Runner:
    """Load the file in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(images: Sequence[NDArray[Any]]) -> Any:
        return session.run(list(OUTPUTS), dict(zip(names, images, strict=True)))

    return run
