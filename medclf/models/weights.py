"""Pretrained weights of a backbone."""

import logging
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from medclf.errors import ConfigError, listed
from medclf.models.backbones import ResNet

log = logging.getLogger(__name__)


def load_weights(backbone: nn.Module, weights: str) -> None:
    """Fill a backbone with weights; those of a last layer (``fc``) are left out.

    Args:
        backbone: changed in place.
        weights: ``none`` (stays random), ``default`` (torchvision's ImageNet weights, downloaded once) or the path of a
            state dict with the backbone's or torchvision's names. Loaded with ``weights_only=True``: no code is run.

    Raises:
        ConfigError: when there are no such weights, they cannot be had, or do not fit.
    """
    if weights == "none":
        return
    state = _published(backbone) if weights == "default" else _read(Path(weights))
    target = backbone.network if isinstance(backbone, ResNet) else backbone
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"model.weights={weights}: do not fit the backbone: {_short(error)}") from error
    log.info("Loaded %d tensors of the backbone from model.weights=%s", len(state), weights)


def _published(backbone: nn.Module) -> dict[str, Tensor]:
    if not isinstance(backbone, ResNet):
        raise ConfigError("model.weights=default: there are published weights for ResNets only; use none or a path")
    weights = get_model_weights(backbone.name).DEFAULT
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        name = weights.url.rsplit("/", 1)[-1]
        raise ConfigError(
            f"model.weights=default: {weights.url} cannot be downloaded ({error}). Fetch it elsewhere and put it at "
            f"{folder / name} (its sha256 begins with {name.split('-')[-1].split('.')[0]}), or use model.weights=none"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or dangerous file
        raise ConfigError(f"model.weights={path}: cannot be read as a state dict: {_short(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"model.weights={path}: is no state dict (a dict of tensors)")
    return state


def _short(error: Exception) -> str:
    return listed((line.strip() for line in str(error).splitlines()[:4] if line.strip()), 4)
