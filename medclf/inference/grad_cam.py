"""Which part of an image spoke for its predicted class."""

import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.predictions import Predictions
from medclf.inference.loading import Model
from medclf.inference.predictor import NetworkInputs, Predictor
from medclf.inference.probability_models import (
    CalibratedNetwork,
    CascadeModel,
    EnsembleModel,
    FlipAveraging,
    ProbabilityModel,
)
from medclf.models.network import Network
from medclf.plots.image_grids import ImageReader
from medclf.plots.run_plots import GradCam
from medclf.utils.errors import ConfigError

log = logging.getLogger(__name__)
BATCH = 8
Activation = Callable[[Sequence[str], Sequence[int]], NDArray[np.float32] | None]
"""Gives what speaks for a class in each image, by the images' paths and the classes: maps of shape (n, size, size),
values 0 to 1; None where the network has no feature maps."""


def save_grad_cam(evaluation: Evaluation, seen: ImageReader, activation: Activation, file: Path) -> GradCam | None:
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
    if not (config.plots and config.grad_cam):
        return None
    try:
        found = compute_grad_cam(evaluation.test, seen, activation, config.grad_cam, config.seed)
    except (RuntimeError, AssertionError, TypeError) as error:
        log.warning("Grad-CAM cannot be drawn of this network: %s", error)
        return None
    if found is None:
        return None
    found.save(file)
    return found.rounded()


def compute_grad_cam(
    test: Predictions, seen: ImageReader, activation: Activation, count: int, seed: int = 0
) -> GradCam | None:
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


def build_activation(network: Network, seen: ImageReader) -> Activation:
    """Return a function that computes the maps of one network, for images that ``seen`` gives."""

    def activation(paths: Sequence[str], classes: Sequence[int]) -> NDArray[np.float32] | None:
        images = torch.from_numpy(np.stack([_image(seen, path) for path in paths]))
        return class_activation(network, images, classes)

    return activation


def class_activation(network: Network, images: Tensor, classes: Sequence[int]) -> NDArray[np.float32] | None:
    """Return maps of the evidence for a class in each image, shape (n, size, size), values 0 to 1.

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
    """Return the last module of the backbone that outputs maps of more than one value, (1, f, height, width)."""
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


def _image(seen: ImageReader, path: str) -> NDArray[np.uint8]:
    image = seen(path)
    assert image is not None
    return image


OPACITY = 0.5


def overlay_grad_cam(model: Model, seen: NetworkInputs, predicted: int) -> NDArray[np.uint8] | None:
    """Return an image under its Grad-CAM (Selvaraju et al., ICCV 2017) for the predicted class.

    It is that of the network that decided: of a cascade the first stage's where that found the image healthy, else the
    second's, of an ensemble the first member's.

    Args:
        model: as it was loaded.
        seen: the image.
        predicted: the place of the class.

    Returns:
        RGB, shape (size, size, 3); None where the network has no feature maps.
    """
    image, found = compute_heat_map(model, seen, predicted)
    if found is None:
        return None
    heat = matplotlib.colormaps["inferno"](found)[..., :3] * 255
    mixed = (1 - OPACITY) * np.broadcast_to(image.transpose(1, 2, 0), heat.shape) + OPACITY * heat
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def compute_heat_map(
    model: Model, seen: NetworkInputs, predicted: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Return the input of the network that decided, and its Grad-CAM, (size, size), or None without maps."""
    part, place = _decided(model.classifier.joint, predicted)
    image = seen[part.at]
    maps = class_activation(part.network, torch.from_numpy(image[None]), [place])
    return image, None if maps is None else maps[0]


def _decided(joint: ProbabilityModel, predicted: int) -> tuple[CalibratedNetwork, int]:
    """The network that decided, and the place of the predicted class among its own."""
    match joint:
        case CalibratedNetwork():
            return joint, predicted
        case EnsembleModel():
            return _decided(joint.members[0], predicted)  # type: ignore[arg-type]
        case FlipAveraging():
            return _decided(joint.joint, predicted)
        case CascadeModel() if predicted == 0:
            return _decided(joint.first, joint.gate)
        case CascadeModel():
            return _decided(joint.second, joint.diseases[predicted - 1])
    raise TypeError(type(joint))


def save_model_grad_cam(
    engine: Predictor, root: Path, evaluation: Evaluation, shown: ImageReader, file: Path
) -> GradCam | None:
    """Compute and save Grad-CAM maps of some of the evaluated images.

    Args:
        engine: the model, for whose classes the evaluation is.
        root: folder that the paths of the images are below.
        evaluation: of its predictions.
        shown: gives the images that the pages show.
        file: is written, as a run keeps them.

    Returns:
        None where no pages are asked for, and where the networks have no feature maps.
    """
    return save_grad_cam(evaluation, shown, build_model_activation(engine.model, partial(engine.see, root)), file)


def build_model_activation(model: Model, see: Callable[[str], NetworkInputs]) -> Activation:
    """Return a function that computes a model's maps, in the size of its first form.

    Args:
        model: as it was loaded.
        see: gives what the model sees of an image, by its path.
    """

    def activation(paths: Sequence[str], classes: Sequence[int]) -> NDArray[np.float32] | None:
        side = model.forms[0].image_size
        maps = [
            compute_heat_map(model, see(path), predicted)[1] for path, predicted in zip(paths, classes, strict=True)
        ]
        found = [cv2.resize(one, (side, side)) for one in maps if one is not None]
        return np.stack(found).astype(np.float32) if len(found) == len(maps) else None

    return activation


LONGEST = 80
"""Letters of an image's path that its picture's name has room for."""


def validate_has_maps(model: Model) -> None:
    """Refuse a model whose networks have no feature maps.

    Raises:
        ConfigError: saying so.
    """
    blank = tuple(np.zeros((form.channels, form.image_size, form.image_size), np.uint8) for form in model.forms)
    if any(overlay_grad_cam(model, blank, place) is None for place in range(len(model.classes))):
        raise ConfigError("grad_cam=true: this network has no feature maps; type grad_cam=false")


def save_overlay(model: Model, seen: NetworkInputs, predicted: int, folder: Path, row: int, path: str) -> None:
    """Write the picture of one image, ``ROW_PATH.png``, the row of predictions.csv being counted from 1.

    Args:
        model: one with feature maps.
        seen: the image.
        predicted: the place of its class.
        folder: is made where it is not there.
        row: counted from 0.
        path: of the image, of which what a file's name may not hold becomes ``_``.
    """
    picture = overlay_grad_cam(model, seen, predicted)
    assert picture is not None
    folder.mkdir(exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", Path(path).with_suffix("").as_posix(), flags=re.ASCII)[-LONGEST:]
    Image.fromarray(picture).save(folder / f"{row + 1:06d}_{name}.png")
