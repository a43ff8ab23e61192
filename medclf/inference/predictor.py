"""A model at work: on a device, in a precision, folded, on images as they were decoded."""

import copy
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from medclf.config.schema import ImageSpecConfig, TestTime
from medclf.config.trainer_schema import Precision
from medclf.data.preprocessing import preprocess_image, read_preprocessed, smallest_sufficient_side
from medclf.inference.loading import Model
from medclf.inference.precision import choose_device, match_precision
from medclf.inference.probability_models import Classifier, FlipAveraging, list_networks
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS

log = logging.getLogger(__name__)
NetworkInputs = tuple[NDArray[np.uint8], ...]
"""What a model sees of one image: in each of its forms, (channels, size, size)."""


@dataclass(frozen=True)
class PredictedBatch:
    """What a model says of some images.

    ``probabilities`` are calibrated, ``uncalibrated`` the network's own, both (n, classes) in float64; ``predicted``
    (n,) are classes by their place; ``distance`` (n,) from the training images, and whether that makes an image
    ``unlike`` them: NaN and false where the model cannot tell.
    """

    probabilities: NDArray[np.float64]
    predicted: NDArray[np.int64]
    uncalibrated: NDArray[np.float64]
    distance: NDArray[np.float64]
    unlike: NDArray[np.bool_]


class Predictor:
    """A model that predicts.

    Args:
        model: as it was loaded; it stays as it is.
        accelerator: auto, cpu, gpu or mps, as Lightning names it.
        precision: None: float32 where the model was trained in it, else what the machine is built for.
        tta: ``flip``: the mean over each image and its mirror image.
        max_megapixels: an image of more millions of pixels is unreadable.

    Raises:
        ConfigError: for a device that is not there.
    """

    def __init__(
        self,
        model: Model,
        accelerator: str = "auto",
        precision: Precision | None = None,
        tta: TestTime = "none",
        max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    ) -> None:
        self.model = model
        self.max_megapixels = max_megapixels
        self.device = choose_device(accelerator)
        if precision is None:
            own: Precision = "bf16-mixed" if model.facts.precision == "mixed" else "32-true"
            precision, why = match_precision(own, accelerator)
            log.info("Precision %s: %s.", precision, why)
        self.precision = precision
        classifier = copy.deepcopy(model.classifier)
        for part in list_networks(classifier):
            part.network = fold_batchnorm(part.network)
        if tta == "flip":
            classifier.joint = FlipAveraging(classifier.joint)
        wide = torch.float64 if str(precision).startswith("64") else torch.float32
        self.classifier: Classifier = classifier.to(self.device, wide).eval()

    def look(self, image: Image.Image) -> NetworkInputs:
        """Return what the model sees of an image in memory, of any mode.

        Raises:
            UnreadableImageError: with the reason.
        """
        return tuple(preprocess_image(image, form, self.max_megapixels) for form in self.model.forms)

    def see(self, root: Path, path: str, content: bytes | None = None) -> NetworkInputs:
        """Return the network inputs for a file, bit-identical to those of training.

        Args:
            root: folder that the path is below.
            path: a file, or ``ARRAYS.npy#INDEX``.
            content: the file's bytes, if they are read already.

        Raises:
            UnreadableImageError: with the reason.
        """
        seen, notes = zip(*(self._see(root, path, form, content) for form in self.model.forms), strict=True)
        if notes[0]:
            log.warning("%s: %s", path, notes[0])
        return seen

    def _see(
        self, root: Path, path: str, form: ImageSpecConfig, content: bytes | None
    ) -> tuple[NDArray[np.uint8], str]:
        return read_preprocessed(root, path, form, smallest_sufficient_side(form), content, self.max_megapixels)

    @torch.inference_mode()
    def predict(self, images: list[NetworkInputs]) -> PredictedBatch:
        """Predict images, one batch of them."""
        batches = [torch.from_numpy(np.stack(form)).to(self.device) for form in zip(*images, strict=True)]
        with self._arithmetic():
            outputs = self.classifier(*batches)
        probabilities, predicted, uncalibrated, features = (value.cpu().numpy() for value in outputs)
        novelty = self.model.novelty
        distance = np.full(len(images), np.nan) if novelty is None else novelty.distance(features)
        unlike = np.zeros(len(images), bool) if novelty is None else distance > novelty.threshold
        return PredictedBatch(
            probabilities.astype(np.float64), predicted, uncalibrated.astype(np.float64), distance, unlike
        )  # fmt: skip

    def _arithmetic(self) -> AbstractContextManager[object]:
        kinds = {"bf16": torch.bfloat16, "16-m": torch.float16, "16": torch.float16}
        kind = next((value for name, value in kinds.items() if str(self.precision).startswith(name)), None)
        return nullcontext() if kind is None else torch.autocast(self.device.type, kind)
