"""The same work as others write it, for bench_speed.py: a plain loop, fastai, and timm's settings.

`python experiments/peers.py NAME ROOT MODEL FROZEN EPOCHS` trains, or predicts, and prints a line of JSON: seconds
before the first epoch, of each epoch and after the last.
"""

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

BATCH, SIDE = 32, 224
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Clock:
    """Splits what passes into before, epochs and after."""

    def __init__(self) -> None:
        self.marks = [time.perf_counter()]

    def mark(self) -> None:
        """An epoch begins or ends."""
        self.marks.append(time.perf_counter())

    def told(self) -> dict[str, Any]:
        """Seconds of each part."""
        spans = [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
        return {"start": spans[0], "epochs": spans[1:], "end": time.perf_counter() - self.marks[-1]}


def plain(root: Path, model: str, frozen: bool, epochs: int) -> dict[str, Any]:
    """The published loop: ImageFolder, PIL transforms, float32, Adam, validation and saving each epoch."""
    import torch

    clock = Clock()
    train, val, test, classes = _plain_loaders(root)
    network = _plain_network(model, classes, frozen)
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=1e-3)
    clock.mark()
    for _ in range(epochs):
        network.train()
        for pixels, target in train:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(pixels), target).backward()
            optimizer.step()
        _outputs(network, val)
        torch.save(network.state_dict(), root.parent / "plain.pth")
        clock.mark()
    _outputs(network, test)
    return clock.told()


def plain_predict(root: Path, model: str, frozen: bool, epochs: int) -> dict[str, Any]:
    """Class probabilities of every image by an eager network in float32, written to a file; no epoch."""
    import torch
    from torchvision.datasets import ImageFolder

    clock = Clock()
    network = _plain_network(model, 2, frozen)
    images = ImageFolder(str(root), _transform(flip=False))
    clock.mark()
    outputs = _outputs(network, torch.utils.data.DataLoader(images, batch_size=BATCH)).softmax(1)
    with (root.parent / "plain.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [path, *row] for (path, _), row in zip(images.samples, outputs.tolist(), strict=True)
        )
    return clock.told()


def fastai(root: Path, model: str, frozen: bool, epochs: int) -> dict[str, Any]:
    """fastai as its tutorials have it: every weight learns, flips on the batch."""
    from fastai.vision import all as vision

    clock = Clock()
    loaders = vision.ImageDataLoaders.from_folder(
        root, valid_pct=0.45, seed=0, bs=BATCH, num_workers=0, item_tfms=vision.Resize(SIDE, method="squish"),
        batch_tfms=vision.Flip(), device="cpu",
    )  # fmt: skip
    learner = vision.vision_learner(
        loaders, getattr(vision, model), pretrained=False, metrics=vision.accuracy, path=root.parent
    )
    learner.unfreeze()

    class Marks(vision.Callback):  # type: ignore[misc]
        def after_epoch(self) -> None:
            clock.mark()

    clock.mark()
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, lr=1e-3, cbs=[Marks()])
    learner.save("fastai")
    return clock.told()


def timm(root: Path, model: str, frozen: bool, epochs: int) -> dict[str, Any]:
    """What timm's script does with --channels-last --amp --amp-dtype bfloat16 --torchcompile, by its own parts."""
    import timm
    import torch
    from timm.data import create_loader
    from timm.optim import create_optimizer_v2

    clock = Clock()
    train, val, test, classes = _plain_loaders(root)
    loader = create_loader(
        train.dataset, (3, SIDE, SIDE), BATCH, is_training=True, no_aug=True, use_prefetcher=False, num_workers=1,
        device=torch.device("cpu"), persistent_workers=True,
    )  # fmt: skip
    network = timm.create_model(model, num_classes=classes).to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(network, opt="adam", lr=1e-3)
    compiled = torch.compile(network, backend="inductor")
    clock.mark()
    for _ in range(epochs):
        network.train()
        for pixels, target in loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = compiled(pixels.contiguous(memory_format=torch.channels_last))
                loss = torch.nn.functional.cross_entropy(outputs, target)
            loss.backward()
            optimizer.step()
        _outputs(network, val, bfloat16=True)
        torch.save(network.state_dict(), root.parent / "timm.pth")
        clock.mark()
    _outputs(network, test, bfloat16=True)
    return clock.told()


def _transform(flip: bool) -> Any:
    from torchvision import transforms

    steps = [transforms.Resize((SIDE, SIDE)), transforms.ToTensor(), transforms.Normalize(MEAN, SD)]
    return transforms.Compose([*([transforms.RandomHorizontalFlip()] if flip else []), *steps])


def _plain_loaders(root: Path) -> tuple[Any, Any, Any, int]:
    import torch
    from torchvision.datasets import ImageFolder

    images = ImageFolder(str(root), _transform(flip=True))
    parts = torch.utils.data.random_split(images, [0.55, 0.15, 0.3], generator=torch.Generator().manual_seed(0))
    train, val, test = (
        torch.utils.data.DataLoader(part, batch_size=BATCH, shuffle=place == 0) for place, part in enumerate(parts)
    )
    return train, val, test, len(images.classes)


def _plain_network(name: str, classes: int, frozen: bool) -> Any:
    from torch import nn
    from torchvision import models

    if name == "cnn":
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 28 * 28, classes))
    network = models.get_model(name)
    if frozen:
        network.requires_grad_(False)
    network.fc = nn.Linear(network.fc.in_features, classes)
    return network


def _outputs(network: Any, loader: Any, bfloat16: bool = False) -> Any:
    import torch

    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        return torch.cat([network(pixels).float() for pixels, _ in loader])


if __name__ == "__main__":
    peer, folder, architecture, is_frozen, count = sys.argv[1:]
    work = {"plain": plain, "plain_predict": plain_predict, "fastai": fastai, "timm": timm}[peer]
    print(json.dumps(work(Path(folder), architecture, is_frozen == "True", int(count))))
