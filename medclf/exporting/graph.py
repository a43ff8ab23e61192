"""A model as one graph, from bytes to a decision."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from medclf.inference.loading import Model
from medclf.inference.probability_models import Classifier, ProbabilityModel

Runner = Callable[[Sequence[NDArray[np.uint8]]], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""A loaded file at work: a batch in each form of the images, (n, channels, size, size), to its outputs."""
FREE = Dim.DYNAMIC
"""A dimension that may be of any length."""


class Graph(nn.Module):
    """What is exported of a classifier: calibrated probabilities and the predicted class, all in float32."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(classifier)
        for part in self.classifier.modules():
            if isinstance(part, ProbabilityModel):
                part.wide = False
            for name, child in part.named_children():
                if isinstance(child, nn.AdaptiveMaxPool2d):
                    setattr(part, name, MaxWindows(child.output_size))
        self.requires_grad_(False).eval()

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images in each form of the model, uint8 (n, channels, size, size), to the outputs."""
        outputs = self.classifier(*images)
        return outputs.probabilities, outputs.predicted


class MaxWindows(nn.Module):
    """``nn.AdaptiveMaxPool2d`` as slices: ONNX has no such thing where the windows are not all of one size.

    Args:
        size: height and width of the result, or one number for both.
    """

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = size if isinstance(size, tuple) else (size, size)

    def forward(self, maps: Tensor) -> Tensor:
        """Map maps (n, f, height, width) to (n, f, *size)."""
        for dim, count in zip((2, 3), self.size, strict=True):
            length = maps.shape[dim]
            parts = [maps.narrow(dim, *_window(at, length, count or length)) for at in range(count or length)]
            maps = torch.stack([part.amax(dim) for part in parts], dim)
        return maps


def _window(at: int, length: int, count: int) -> tuple[int, int]:
    """Begin and length of a window, as torch has them."""
    begin = at * length // count
    return begin, -(-(at + 1) * length // count) - begin


def capture_graph(model: Model) -> ExportedProgram:
    """Follow a model's forward once. Raises whatever torch.export says of a network that it cannot follow."""
    images = tuple(
        torch.zeros((2, form.channels, form.image_size, form.image_size), dtype=torch.uint8) for form in model.forms
    )
    shapes = {"images": tuple({0: FREE} for _ in images)}
    program = torch.export.export(Graph(model.classifier), images, dynamic_shapes=shapes, strict=False)
    _forget_sources(program.graph_module)
    return program


def _forget_sources(module: Any) -> None:
    """Drop the lines of code that each node came from: they hold paths of this machine."""
    for part in module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
