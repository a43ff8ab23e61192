"""What an exported file tells of itself, since it leaves its run. Imports no torch."""

import json
from collections.abc import Mapping
from typing import Any

from medclf.config.command_schemas import FormatName
from medclf.config.schema import ImageSpecConfig
from medclf.exporting.formats import FORMATS
from medclf.inference.model_metadata import ModelMetadata
from medclf.utils.run_folder import package_versions

OUTPUTS = {
    "probabilities": "float32 (n, classes), calibrated, in the order of classes",
    "predicted": "int64 (n,), the class by its place in classes, decided by operating_point, which is inside: its "
    "threshold holds for probabilities before calibration",
}
"""The outputs of every exported file, in order."""
INPUT = (
    "uint8 (n, channels, image_size, image_size), values 0 to 255; normalisation is inside. Grey is ITU-R 601 luma; "
    "clahe is OpenCV's, before resizing; squash, letterbox and crop resize by Pillow's antialiased bilinear filter"
)
WARNING = "A research tool, not a medical device: not for diagnosis or treatment."


def describe_inputs(forms: list[ImageSpecConfig]) -> dict[str, ImageSpecConfig]:
    """Return the name of the input for each form of the images: ``images`` if there is only one."""
    if len(forms) == 1:
        return {"images": forms[0]}
    inputs: dict[str, ImageSpecConfig] = {}
    for form in forms:
        name = f"images_{form.image_size}x{form.channels}"
        same = sum(other == name or other.startswith(f"{name}_") for other in inputs)
        inputs[f"{name}_{same + 1}" if same else name] = form
    return inputs


def describe_export(facts: ModelMetadata, inputs: Mapping[str, ImageSpecConfig], name: FormatName) -> dict[str, Any]:
    """Return the metadata stored in the file and in its .json."""
    point = facts.operating_point
    return {
        "warning": WARNING,
        "classes": facts.classes,
        "positive": facts.positive,
        "threshold": point.threshold,
        "operating_point": point.model_dump(),
        "temperature": facts.temperature,
        "inputs": {key: form.model_dump() for key, form in inputs.items()},
        "input": INPUT,
        "outputs": OUTPUTS,
        "dataset": facts.dataset,
        "kind": facts.kind,
        "model": None if facts.model is None else facts.model.name,
        "format": name,
        "versions": package_versions(["medclf", "torch", *FORMATS[name].needs]),
    }


def to_text(content: Mapping[str, Any]) -> dict[str, str]:
    """Return text unchanged and everything else as JSON, for formats that store only text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in content.items()
    }
