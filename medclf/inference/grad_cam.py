"""Which part of an image spoke for its predicted class."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn

from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.predictions import Predictions
from medclf.models.network import Network
from medclf.plots.image_grids import Seen
from medclf.plots.run_plots import GradCam

log = logging.getLogger(__name__)
BATCH = 8
Activation = Callable[[Sequence[str], Sequence[int]], NDArray[np.float32] | None]
"""Gives what speaks for a class in each image, by the images' paths and the classes: maps of shape (n, size, size),
values 0 to 1; None where the network has no feature maps."""


def saved_grad_cam(evaluation: Evaluation, seen: Seen, activation: Activation, file: Path) -> GradCam | None:
    """Grad-CAM for the pages of a report, of as many images as the evaluation's config says.

    Args:
        evaluation: of the test images.
        seen: gives them.
        activation: gives the maps.
        file: is written, so that the pages can be drawn again.

    Returns:
        Maps in the file's own precision; None where no pages are asked for too, and where Captum cannot follow the
        network, which the log says.
    """
    config = evaluation.config
    if not (config.pictures and config.grad_cam):
        return None
    try:
        found = grad_cam_of(evaluation.test, seen, activation, config.grad_cam, config.seed)
    except (RuntimeError, AssertionError, TypeError) as error:
        log.warning("Grad-CAM cannot be drawn of this network: %s", error)
        return None
    if found is None:
        return None
    found.save(file)
    return GradCam.load(file)


def grad_cam_of(test: Predictions, seen: Seen, activation: Activation, count: int, seed: int = 0) -> GradCam | None:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of test images, for their predicted class, by Captum.

    Args:
        test: predictions.
        seen: gives the images.
        activation: gives the maps, of the weights that were tested.
        count: of correctly classified images, drawn at random, and of wrongly classified ones, the most confident.
        seed: of the draw.

    Returns:
        Maps, each divided by its maximum; None where the network has no feature maps or no image can be had.
    """
    rows = [int(row) for row in _chosen(test, count, seed) if seen(test.table["path"].iloc[row]) is not None]
    if not rows:
        return None
    paths = [str(test.table["path"].iloc[row]) for row in rows]
    maps = activation(paths, test.predicted[rows].tolist())
    return None if maps is None else GradCam(paths, (test.predicted == test.target)[rows].tolist(), maps)


def activation_of(network: Network, seen: Seen) -> Activation:
    """The maps of one network, for images that ``seen`` gives."""

    def activation(paths: Sequence[str], classes: Sequence[int]) -> NDArray[np.float32] | None:
        images = torch.from_numpy(np.stack([_image(seen, path) for path in paths]))
        return class_activation(network, images, classes)

    return activation


def class_activation(network: Network, images: Tensor, classes: Sequence[int]) -> NDArray[np.float32] | None:
    """Maps of shape (n, size, size), values 0 to 1, of what in each image speaks for its class.

    Args:
        network: left in the mode that it was in.
        images: uint8, shape (n, channels, size, size).
        classes: one for each image.
    """
    mode = network.training
    network.eval()
    try:
        layer = last_feature_maps(network, images[:1])
        if layer is None:
            return None
        maps = [
            _maps(network, layer, images[begin : begin + BATCH], classes[begin : begin + BATCH])
            for begin in range(0, len(images), BATCH)
        ]
    finally:
        network.train(mode)
    return np.concatenate(maps)


def last_feature_maps(network: Network, image: Tensor) -> nn.Module | None:
    """The last module of the backbone whose output is maps of more than one value, (1, f, height, width)."""
    found: list[nn.Module] = []

    def look(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(module)

    handles = [module.register_forward_hook(look) for module in network.backbone.modules()]
    try:
        with torch.no_grad():
            network(image.to(network.mean.device))
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else None


def _maps(network: Network, layer: nn.Module, images: Tensor, classes: Sequence[int]) -> NDArray[np.float32]:
    # gradients reach the maps of a frozen backbone too, since its images ask for them
    inputs = images.to(network.mean.device, network.mean.dtype).requires_grad_()
    with torch.enable_grad():
        method = LayerGradCam(partial(_scores, network), layer)
        maps = method.attribute(inputs, target=list(classes), relu_attributions=True)
    grown = LayerAttribution.interpolate(maps.detach(), tuple(images.shape[2:]), "bilinear")[:, 0].float().cpu()
    return np.asarray(grown / grown.amax((1, 2), keepdim=True).clamp(min=1e-12), dtype=np.float32)


def _scores(network: Network, images: Tensor) -> Tensor:
    """The logits; of one output z, which alone tells two classes apart, -z and z, for what speaks for the first one."""
    outputs = torch.as_tensor(network.head(network.features(images).to(network.mean.dtype)))
    return torch.cat([-outputs, outputs], 1) if outputs.shape[1] == 1 else outputs


def _chosen(test: Predictions, count: int, seed: int) -> NDArray[np.int64]:
    right = np.flatnonzero(test.predicted == test.target)
    wrong = np.flatnonzero(test.predicted != test.target)
    confidence = test.probabilities[wrong, test.predicted[wrong]]
    drawn = np.random.default_rng(seed).permutation(right)[:count]
    return np.concatenate([drawn, wrong[np.argsort(-confidence, kind="stable")][:count]])


def _image(seen: Seen, path: str) -> NDArray[np.uint8]:
    image = seen(path)
    assert image is not None
    return image
