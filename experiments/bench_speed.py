"""How fast a run is, against a plain loop as the published projects write it: `make bench`.

Each line is a process of its own, in turn (plain, off, ours, plain, …), on the same images: from the prompt to the last
file, start, validation and saving counted. `off` is medclf with float32, no reuse of features and no report;
`ours` as it comes. Plain runs, and those with everything off, are measured for a few epochs and scaled to the whole,
which the table says.

python experiments/bench_speed.py [--full] [--images FOLDER] [--only NAME,NAME]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """A line of the table: the network, whether its backbone is frozen, epochs, and those that the plain loop runs."""

    name: str
    model: str
    frozen: bool
    epochs: int
    plain_epochs: int
    target: str

    def words(self, epochs: int) -> list[str]:
        """What is typed after python -m medclf.train."""
        frozen = ["model.frozen=true"] if self.frozen else []
        return [
            "dataset=folder", f"model={self.model}", *frozen, "augmentation=flip", "optimizer=adam", "scheduler=none",
            "dataset.channels=3", "dataset.splits.test=0.3", "dataset.splits.val=0.15", "dataset.duplicates.near=null",
            f"trainer.max_epochs={epochs}", "trainer.enable_progress_bar=false",
        ]  # fmt: skip


WORKS = (
    Work("frozen ResNet-101, flips, 30 epochs", "resnet101", True, 30, 1, "at least 40, goal 80"),
    Work("frozen ResNet-50, flips, 30 epochs", "resnet50", True, 30, 1, "at least 30, goal 60"),
    Work("fine-tune ResNet-50", "resnet50", False, 3, 1, "at least 2.5, goal 4"),
    Work("fine-tune ResNet-18", "resnet18", False, 5, 2, "at least 2.5, goal 3.5"),
    Work("custom CNN", "cnn", False, 10, 3, ""),
)
OFF = ["trainer.precision=32-true", "model.feature_views=0", "evaluation=quick"]


def make_images(root: Path, count: int = 778) -> None:
    """PNGs of 256x256 in two class folders, each of its own smooth noise."""
    for at in range(count):
        random = np.random.default_rng(at)
        coarse = Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        path = root / "ab"[at % 2] / f"{at:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(path)


def plain(root: str, model: str, frozen: str, epochs: str) -> None:
    """The published loop: ImageFolder, PIL transforms, float32, Adam, validation and saving each epoch."""
    import torch
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )  # fmt: skip
    begin = time.perf_counter()
    images = ImageFolder(root, transform)
    generator = torch.Generator().manual_seed(0)
    parts = torch.utils.data.random_split(images, [0.55, 0.15, 0.3], generator=generator)
    train, val, test = (
        torch.utils.data.DataLoader(part, batch_size=32, shuffle=at == 0) for at, part in enumerate(parts)
    )
    network = _plain_network(model, len(images.classes), frozen == "True")
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=1e-3)
    ready = time.perf_counter()
    for _ in range(int(epochs)):
        network.train()
        for pixels, target in train:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(pixels), target).backward()
            optimizer.step()
        _plain_accuracy(network, val)
        torch.save(network.state_dict(), Path(root).parent / "plain.pth")
    trained = time.perf_counter()
    _plain_accuracy(network, test)
    print(
        json.dumps(
            {"start": ready - begin, "epoch": (trained - ready) / int(epochs), "end": time.perf_counter() - trained}
        )
    )


def _plain_network(name: str, classes: int, frozen: bool) -> Any:
    import torch
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
    network.fc = torch.nn.Linear(network.fc.in_features, classes)
    return network


def _plain_accuracy(network: Any, loader: Any) -> float:
    import torch

    network.eval()
    right = 0
    with torch.no_grad():
        for pixels, target in loader:
            right += int((network(pixels).argmax(1) == target).sum())
    return right / len(loader.dataset)


def seconds_plain(work: Work, root: Path) -> float:
    """The plain loop, scaled to all epochs of the work."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--plain", str(root), work.model, str(work.frozen), str(work.plain_epochs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    whole, told = time.perf_counter() - begin, json.loads(done.stdout.splitlines()[-1])
    return whole + told["epoch"] * (work.epochs - work.plain_epochs)


def seconds_ours(work: Work, root: Path, epochs: int, more: Sequence[str] = ()) -> float:
    """The command, with a store of its own: nothing is there before. Scaled to all epochs of the work."""
    with tempfile.TemporaryDirectory(dir=root.parent) as name:
        words = [f"dataset.root={root}", f"dataset.store={name}/store", f"hydra.run.dir={name}/run", *more]
        command = [sys.executable, "-m", "medclf.train", *work.words(epochs), *words]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - begin
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        told = json.loads((Path(name) / "run" / "run.json").read_text(encoding="utf-8"))
    return taken + float(told["training_seconds"]) / epochs * (work.epochs - epochs)


def main(arguments: Sequence[str]) -> None:
    """Measure in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="three rounds instead of one")
    parser.add_argument("--images", type=Path, help="a folder of class folders; by default images are made")
    parser.add_argument("--only", default="", help="models, separated by commas")
    options = parser.parse_args(arguments)
    works = [work for work in WORKS if not options.only or work.model in options.only.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "images"
        if options.images is None:
            make_images(root)
        else:
            root.symlink_to(options.images.absolute())
        for work in works:
            taken: dict[str, list[float]] = {"plain": [], "off": [], "ours": []}
            for _ in range(3 if options.full else 1):
                taken["plain"].append(seconds_plain(work, root))
                taken["off"].append(seconds_ours(work, root, work.plain_epochs, OFF))
                taken["ours"].append(seconds_ours(work, root, work.epochs))
                print(work.name, {key: round(values[-1], 1) for key, values in taken.items()}, flush=True)
            rows.append(_row(work, taken))
    head = (
        f"# Runs\n\nSeconds from the prompt to the last file, and the plain loop's as a multiple. "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. Median (smallest to largest). "
        "What is from fewer epochs is scaled, with everything off likewise. Written by `make bench`.\n\n"
        "| work | plain, s | everything off, s | ours, s | plain / ours | target |\n|---|---|---|---|---|---|\n"
    )
    text = head + "\n".join(rows) + "\n"
    (HERE / "bench_speed.md").write_text(text, encoding="utf-8")
    print(text)


def _row(work: Work, taken: dict[str, list[float]]) -> str:
    ratios = [plain / ours for plain, ours in zip(taken["plain"], taken["ours"], strict=True)]
    scaled = f" (from {work.plain_epochs} of {work.epochs} epochs)" if work.plain_epochs < work.epochs else ""
    plain_seconds, off, ours = (f"{median(values):.0f}" for values in taken.values())
    spread = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    return f"| {work.name} | {plain_seconds}{scaled} | {off} | {ours} | {spread} | {work.target} |"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        plain(*sys.argv[2:])
    else:
        main(sys.argv[1:])
