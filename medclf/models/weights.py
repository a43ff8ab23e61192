"""Pretrained weights of a network."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from medclf.models.backbones import ResNet
from medclf.models.network import Network
from medclf.models.tensor_names import State, own_state
from medclf.utils.errors import ConfigError, format_list
from medclf.utils.regular_files import special_kind

log = logging.getLogger(__name__)


def load_weights(network: Network, weights: str) -> None:
    """Fill a network with weights, and log what was loaded and what was not.

    All of the backbone must be there. The head is loaded where all of it is there and has the right sizes, else it
    starts anew.

    Args:
        network: changed in place.
        weights: ``none`` (stays random), ``default`` (torchvision's ImageNet weights, downloaded once), or the path of
            a state dict with torchvision's names, of a ``best.pth`` or of a checkpoint of ours. Files are loaded with
            ``weights_only=True``: no code is run.

    Raises:
        ConfigError: when there are no such weights, they cannot be had, or do not fit.
    """
    if weights == "none":
        return
    read = _published(network) if weights == "default" else _read(Path(weights))
    state, own = own_state(read, network), network.state_dict()
    head_there = _part(state, "head.")
    wrong = _misfits({name: value for name, value in state.items() if name not in head_there}, _part(own, "backbone."))
    if wrong:
        raise ConfigError(f"model.weights={weights}: do not fit the backbone: {wrong}")
    head = _misfits(head_there, _part(own, "head."))
    kept = _part(state, "backbone.") if head else state
    network.load_state_dict({**own, **kept})
    log.info(
        "model.weights=%s: loaded the backbone (%d tensors)%s",
        weights,
        len(_part(state, "backbone.")),
        f"; the head starts anew ({head})." if head else f" and the head ({len(head_there)}).",
    )


def fill_weights(network: Network, path: Path) -> None:
    """Fill a network with all of its weights, backbone and head, from a ``best.pth``.

    Raises:
        ConfigError: when the file cannot be read, or does not fit.
    """
    state = own_state(_read(path), network)
    _refuse_misfits(path, state, network)
    network.load_state_dict(state, strict=False)  # old files lack BatchNorm's count of batches


def fill_meta(network: Network, path: Path) -> Network:
    """Give memory to a network that was built on the ``meta`` device, and fill it from a ``best.pth``.

    Its tensors are compared with those of the file before, so that memory is bounded by the file's size.

    Raises:
        ConfigError: when the file cannot be read, or does not fit.
    """
    state = own_state(_read(path), network)
    _refuse_misfits(path, state, network)
    network.to_empty(device="cpu")
    network.set_normalization()
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):  # which old files lack
            value.zero_()
    network.load_state_dict(state, strict=False)
    return network


def _refuse_misfits(path: Path, state: State, network: Network) -> None:
    wrong = _misfits(state, network.state_dict())
    if wrong:
        raise ConfigError(f"model.weights={path}: do not fit the network: {wrong}")


def _part(state: Mapping[str, Tensor], prefix: str) -> State:
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def _misfits(state: State, own: State) -> str:
    """What keeps the tensors from being loaded, or nothing. Old files lack BatchNorm's count of batches."""
    lacking = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    both = [name for name in own if name in state and state[name].shape != own[name].shape]
    shapes = [f"{name} is {tuple(state[name].shape)} there, {tuple(own[name].shape)} here" for name in both]
    found = {"lacks": lacking, "has unknown": unknown, "other sizes:": shapes}
    return "; ".join(f"{what} {format_list(names, 3)}" for what, names in found.items() if names)


def _published(network: Network) -> State:
    if not isinstance(network.backbone, ResNet):
        raise ConfigError("model.weights=default: there are published weights for ResNets only; use none or a path")
    weights = get_model_weights(network.backbone.name).DEFAULT
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        name = weights.url.rsplit("/", 1)[-1]
        raise ConfigError(
            f"model.weights=default: {weights.url} cannot be downloaded ({error}). Fetch it elsewhere and put it at "
            f"{folder / name} (its sha256 begins with {name.split('-')[-1].split('.')[0]}), give its path as "
            "model.weights=PATH, or train from random weights with model.weights=none"
        ) from error


def _read(path: Path) -> State:
    if kind := special_kind(path):
        raise ConfigError(f"model.weights={path}: {kind}, not a file; name a file of weights")
    _refuse_compressed(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"model.weights={path}: cannot be read as a state dict: it is damaged, or holds more than tensors, which "
            "could run code and is never loaded; save it anew as torch.save(network.state_dict(), PATH)"
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise ConfigError(
            f"model.weights={path}: cannot be read as a state dict, the file is damaged: {format_list(first)}"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(map(_is_entry, state.items())):
        raise ConfigError(f"model.weights={path}: is not a state dict (a dict of tensors, each stored whole)")
    return state


def _refuse_compressed(path: Path) -> None:
    """Refuse a zip file that states larger contents than it has bytes: torch writes tensors as they are."""
    try:
        if not is_zipfile(path):
            return  # an older format
        with ZipFile(path) as file:
            stated = sum(member.file_size for member in file.infolist())
    except (OSError, BadZipFile, ValueError) as error:
        raise ConfigError(f"model.weights={path}: cannot be read: {error}") from error
    if stated > path.stat().st_size:
        raise ConfigError(
            f"model.weights={path}: states {stated} bytes of tensors and has {path.stat().st_size}; it is damaged, or "
            "was made to exhaust memory"
        )


def _is_entry(item: tuple[object, object]) -> bool:
    """Whether it is a named tensor that is no larger than what it stores: one may be a view of few numbers."""
    name, value = item
    if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout is not torch.strided:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
