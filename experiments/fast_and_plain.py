"""Whether what is fast costs accuracy: the same runs as they come, and in float32 without reuse, six seeds each.

python experiments/fast_and_plain.py DATASET_ROOT WEIGHTS FOLDER

Trains what is not yet in FOLDER, and writes fast_and_plain.md. DATASET_ROOT has a folder a class; WEIGHTS are a
pretrained ResNet-18's.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

SEEDS = (0, 1, 2, 3, 4, 5)
WORKS = {
    "frozen ResNet-18, flips, 10 epochs, 160 px": (
        "frozen", ["model=resnet18", "model.frozen=true", "trainer.max_epochs=10", "dataset.image_size=160"]
    ),
    "custom CNN, flips, 12 epochs, 128 px": (
        "cnn", ["model=cnn", "model.weights=none", "trainer.max_epochs=12", "dataset.image_size=128"]
    ),
    "fine-tuned ResNet-18, flips, 6 epochs, 128 px": (
        "tune", ["model=resnet18", "trainer.max_epochs=6", "dataset.image_size=128", "optimizer.lr=0.0003"]
    ),
}  # fmt: skip
PLAIN = ["trainer.precision=32-true", "model.feature_views=0"]
METRICS = ("accuracy", "auroc_macro", "log_loss")


def train(root: Path, weights: Path, words: list[str], seed: int, run: Path) -> None:
    """Train a run where it is not there yet."""
    if (run / "metrics.json").is_file():
        return
    subprocess.run(
        [
            sys.executable, "-m", "medclf.train", "dataset=folder", f"dataset.root={root}", "dataset.channels=3",
            "dataset.splits.test=0.3", "dataset.splits.val=0.15", "augmentation=flip", "optimizer=adam",
            "scheduler=none", "evaluation=quick", "trainer.enable_progress_bar=false", f"model.weights={weights}",
            f"dataset.store={run.parent / 'store'}", *words, f"seed={seed}", f"output={run}",
        ],
        check=True, capture_output=True,
    )  # fmt: skip


def row(name: str, kind: str, folder: Path) -> str:
    """Test metrics of the seeds, fast and plain, and their difference."""
    cells = [name]
    for metric in METRICS:
        fast, plain = ([_test(folder / f"{kind}_{way}_{seed}")[metric] for seed in SEEDS] for way in ("fast", "plain"))
        shown = [" ".join(f"{value:.3f}" for value in values) for values in (fast, plain)]
        difference = mean(fast) - mean(plain)
        cells.append(f"{shown[0]} / {shown[1]}; {difference:+.3f} (sd {stdev(fast):.3f}, {stdev(plain):.3f})")
    return "| " + " | ".join(cells) + " |"


def _test(run: Path) -> dict[str, float]:
    test: dict[str, float] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    return test


def main(root: Path, weights: Path, folder: Path) -> None:
    """Train what is missing and write the table."""
    for kind, words in WORKS.values():
        for seed in SEEDS:
            train(root, weights, words, seed, folder / f"{kind}_fast_{seed}")
            train(root, weights, [*words, *PLAIN], seed, folder / f"{kind}_plain_{seed}")
    images = int(_test(folder / f"frozen_fast_{SEEDS[0]}")["n"])
    head = (
        f"# Fast and plain\n\nTest metrics of seeds 0 to 5 of one split, {images} test images: as medclf comes "
        "(bfloat16, features of a frozen backbone reused, BatchNorm folded) / in float32 with all of it off; the "
        "difference of the means, and the sd over the seeds of either. Written by `fast_and_plain.py`.\n\n"
        f"| work | {' | '.join(METRICS)} |\n|---|{'---|' * len(METRICS)}\n"
    )
    rows = [row(name, kind, folder) for name, (kind, _) in WORKS.items()]
    (Path(__file__).parent / "fast_and_plain.md").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
