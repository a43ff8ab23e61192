"""OpenVINO, for Intel's processors.

    core = openvino.Core()
    model = core.read_model("model.xml")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = compiled([images])
    classes = json.loads(model.get_rt_info(["medclf", "classes"]).astype(str))
    print(classes[outputs["predicted"][0]])

Without that hint OpenVINO computes in bfloat16 on processors built for it, and what was verified does not hold.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch.export import ExportedProgram

from medclf.config.schema import ImageSpecConfig
from medclf.exporting.export_metadata import OUTPUTS, to_text
from medclf.exporting.graph import Runner

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


def write(
    program: ExportedProgram, path: Path, inputs: Mapping[str, ImageSpecConfig], content: Mapping[str, Any]
) -> None:
    """Write the graph as .xml and its weights, in float32, as .bin beside it.

    Args:
        program: the graph.
        path: of the .xml.
        inputs: the form of each input.
        content: goes into ``rt_info`` below ``medclf``, as text.
    """
    openvino = _openvino()
    model = openvino.convert_model(program)
    shapes = [[-1, form.channels, form.image_size, form.image_size] for form in inputs.values()]
    model.reshape({at: openvino.PartialShape(shape) for at, shape in enumerate(shapes)})
    for tensors, names in ((model.inputs, inputs), (model.outputs, OUTPUTS)):
        for tensor, name in zip(tensors, names, strict=True):
            tensor.get_tensor().set_names({name})
    for key, text in to_text(content).items():
        model.set_rt_info(text, ["medclf", key])
    openvino.save_model(model, path, compress_to_fp16=False)


def load(path: Path) -> Runner:
    """Load the file in OpenVINO."""
    compiled = _openvino().Core().compile_model(path, "CPU", FLOAT32)

    def run(images: Sequence[NDArray[Any]]) -> Any:
        outputs = compiled(list(images))
        return [outputs[name] for name in OUTPUTS]

    return run


def _openvino() -> Any:
    # it tells its maker of each import and conversion, unless this package seems to be missing
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
