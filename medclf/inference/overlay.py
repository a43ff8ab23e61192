"""What in an image spoke for the class that a model gave it, as a picture."""

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from medclf.inference.grad_cam import class_activation
from medclf.inference.loading import Model
from medclf.inference.modules import Flipped, Joint, Mean, Part, TwoStages
from medclf.inference.predictor import Seen

OPACITY = 0.5


def overlay(model: Model, seen: Seen, predicted: int) -> NDArray[np.uint8] | None:
    """An image under its Grad-CAM (Selvaraju et al., ICCV 2017) for the predicted class.

    It is that of the network that decided: of a cascade the first stage's where that found the image healthy, else the
    second's, of an ensemble the first member's.

    Args:
        model: as it was loaded.
        seen: the image.
        predicted: the place of the class.

    Returns:
        RGB, shape (size, size, 3); None where the network has no feature maps.
    """
    image, found = heat_of(model, seen, predicted)
    if found is None:
        return None
    heat = matplotlib.colormaps["inferno"](found)[..., :3] * 255
    mixed = (1 - OPACITY) * np.broadcast_to(image.transpose(1, 2, 0), heat.shape) + OPACITY * heat
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def heat_of(model: Model, seen: Seen, predicted: int) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """The image as the network that decided sees it, and what spoke for the class there, (size, size), if it tells."""
    part, place = _decided(model.classifier.joint, predicted)
    image = seen[part.at]
    maps = class_activation(part.network, torch.from_numpy(image[None]), [place])
    return image, None if maps is None else maps[0]


def _decided(joint: Joint, predicted: int) -> tuple[Part, int]:
    """The network that decided, and the place of the predicted class among its own."""
    match joint:
        case Part():
            return joint, predicted
        case Mean():
            return _decided(joint.members[0], predicted)  # type: ignore[arg-type]
        case Flipped():
            return _decided(joint.joint, predicted)
        case TwoStages() if predicted == 0:
            return _decided(joint.first, joint.gate)
        case TwoStages():
            return _decided(joint.second, joint.diseases[predicted - 1])
    raise TypeError(type(joint))
