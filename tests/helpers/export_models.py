"""Small models as training leaves them, with random weights, and what they should say."""

import json
from pathlib import Path

import numpy as np
import torch

from helpers.signing import sign_model
from medclf.inference.model_metadata import FORMAT
from medclf.models.network import build_network
from medclf.models.tensor_names import plain_state

CNN = {"_target_": "medclf.models.backbones.SmallCNN", "channels": [4, 8], "grid": 5}
"""Its last pooling has windows of several sizes."""
RESNET = {"_target_": "medclf.models.backbones.ResNet", "name": "resnet18"}
TEMPERATURE = 1.7


def write_model(folder, classes, backbone=CNN, size=32, channels=1, activation="softmax", threshold=None, seed=0):
    """Write best.json and best.pth; with a threshold, the last class is the positive one. Gives the network."""
    torch.manual_seed(seed)
    parts = {"name": "tiny", "backbone": backbone, "head": {"_target_": "torch.nn.Linear"}}
    mean, sd = [0.4, 0.5, 0.6][:channels], [0.2, 0.25, 0.3][:channels]
    config = {**parts, "activation": activation, "frozen": False, "unfreeze_at": None}
    network = build_network(config, mean, sd, size, len(classes), trust_code=True).eval()
    _spread(network, pictures(64, size, channels))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(plain_state(network), folder / "best.pth")
    positive = classes[-1] if threshold is not None else None
    form = {"image_size": size, "channels": channels, "resize": "squash", "clahe": None}
    facts = {
        **described(classes, threshold, positive),
        "kind": "network",
        "activation": activation,
        "preprocessing": {**form, "mean": mean, "sd": sd},
        "model": parts,
    }
    (folder / "best.json").write_text(json.dumps(facts), encoding="utf-8")
    sign_model(folder / "best.json")
    return network


@torch.no_grad()
def _spread(network, images):
    """Make logits of images differ, by about 2, and none of the classes likelier than the others."""
    logits = network.head(network.features(torch.from_numpy(images)))
    scale = 2 / logits.std(0)
    network.head.weight *= scale[:, None]
    network.head.bias.sub_(logits.mean(0)).mul_(scale)


def write_joint(folder, kind, members, classes, threshold=None, gate=None):
    """Write the best.json of a model made of others, whose folders are below its own."""
    facts = {**described(classes, threshold, None, gate), "kind": kind, "members": [f"{m}/best.json" for m in members]}
    (folder / "best.json").write_text(json.dumps(facts), encoding="utf-8")
    sign_model(folder / "best.json")


def described(classes, threshold, positive, gate=None):
    rule = "most probable" if threshold is None else "youden"
    point = {"rule": rule, "threshold": threshold, "words": f"the rule is {rule}", "gate": gate}
    return {
        "format": FORMAT,
        "classes": classes,
        "positive": positive,
        "operating_point": point,
        "temperature": TEMPERATURE,
        "dataset": 'täst "<&>" set',
        "precision": "float32",
    }  # fmt: skip


def pictures(count, size=32, channels=1, seed=0):
    """Noise of every brightness, uint8 (count, channels, size, size)."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0, 255, (count, 1, 1, 1))
    return rng.normal(level, 50, (count, channels, size, size)).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def own_of(network, images):
    """The network's own probabilities, by numpy in float64."""
    logits = network.head(network.features(torch.from_numpy(images))).double().numpy()
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], 1)
    return softmax(logits)


def calibrated(own):
    """What a user is shown."""
    return softmax(np.log(own) / TEMPERATURE)


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def leftovers(folder: Path):
    return [str(path.relative_to(folder)) for path in folder.rglob("*")] if folder.exists() else []
