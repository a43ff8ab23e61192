"""How fast images become batches, against the same work written plainly: `make bench`.

Makes JPEGs of 1300x1000, then measures in turn, each in a process of its own:
building the image store against decoding by Pillow in two plain processes; the start of a later run; batches with
augmentation against a torchvision ImageFolder loader; memory at ten times the images. Writes experiments/bench_data.md.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

SIZE = 224
WIDTH, HEIGHT = 1300, 1000


def make_jpegs(root: Path, count: int, size: tuple[int, int]) -> None:
    """JPEGs in two class folders, each of its own smooth noise."""
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_make_jpeg, [(str(root), index, size) for index in range(count)], chunksize=32))


def _make_jpeg(job: tuple[str, int, tuple[int, int]]) -> None:
    root, index, size = job
    coarse = np.random.default_rng(index).integers(0, 255, (size[1] // 8, size[0] // 8), dtype=np.uint8)
    grain = np.random.default_rng(index).normal(0, 6, (size[1], size[0]))
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=float)
    image = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
    image.save(Path(root) / "ab"[index % 2] / f"{index:05d}.jpg", quality=90)


def decode_plainly(paths: list[str]) -> None:
    """What a published project's loader does with a grey image, less the augmentation."""
    for path in paths:
        with Image.open(path) as image:
            image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR).tobytes()


def plain_decoding(root: Path) -> dict[str, float]:
    """Seconds for all images in two processes."""
    paths = [str(path) for path in sorted(root.rglob("*.jpg"))]
    begin = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(decode_plainly, [paths[0::2], paths[1::2]]))
    return {"seconds": time.perf_counter() - begin}


def _config(root: Path, store: Path) -> object:
    from medclf.cli import resolvers
    from medclf.config.composition import Composer
    from medclf.config.schema import TrainConfig, validate_config

    resolvers.register_resolvers()
    words = ["dataset=folder", "dataset.channels=1", f"dataset.root='{root}'", f"dataset.store='{store}'"]
    return validate_config(Composer("train").compose(words), TrainConfig)


def start(root: Path, store: Path) -> dict[str, float]:
    """Seconds to look at the images, to open (or build) the store, and to the first batch; peak memory in MB."""
    import torch

    from medclf.data.augmentation import build_augmentation
    from medclf.data.build_image_table import load_image_table
    from medclf.data.datamodule import ImageDataModule

    config = _config(root, store)
    before = _peak()
    begin = time.perf_counter()
    table = load_image_table(config.dataset, progress=False)
    looked = time.perf_counter()
    data = ImageDataModule(table, config.dataset, build_augmentation(config.augmentation), progress=False)
    data.setup()
    opened = time.perf_counter()
    loader = iter(data.train_dataloader())
    next(loader)
    first = time.perf_counter()
    torch.set_num_threads(1)
    images, begin_batches = 0, time.perf_counter()
    for batch in loader:
        images += len(batch.images)
        if time.perf_counter() - begin_batches > 20:
            break
    rate = images / (time.perf_counter() - begin_batches)
    return {
        "looking": looked - begin, "store": opened - looked, "first_batch": first - begin, "images_per_second": rate,
        "peak_mb": _peak(), "imports_mb": before,
    }  # fmt: skip


def image_folder(root: Path) -> dict[str, float]:
    """Images a second and core of the plain loader: torchvision's ImageFolder with the same augmentation."""
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    transform = v2.Compose(
        [
            v2.Grayscale(), v2.Resize((SIZE, SIZE)), v2.RandomHorizontalFlip(), v2.RandomRotation(10),
            v2.RandomAutocontrast(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        ]
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(ImageFolder(root, transform), batch_size=32, shuffle=True)
    images, begin = 0, time.perf_counter()
    for batch, _ in loader:
        images += len(batch)
        if time.perf_counter() - begin > 20:
            break
    return {"images_per_second": images / (time.perf_counter() - begin)}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(name: str, *arguments: object) -> dict[str, float]:
    """Call a function of this file in a process of its own."""
    command = [sys.executable, __file__, "--call", name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(count: int, rounds: int) -> None:
    """Measure, print and write the table."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        print(f"making {count} JPEGs", flush=True)
        make_jpegs(work / "large", count, (WIDTH, HEIGHT))
        rows = []
        plain, built, later, folder = [], [], [], []
        for index in range(rounds):
            print(f"round {index + 1} of {rounds}", flush=True)
            plain.append(measured("plain_decoding", work / "large"))
            built.append(measured("start", work / "large", work / f"store{index}"))
            later.append(measured("start", work / "large", work / f"store{index}"))
            folder.append(measured("image_folder", work / "large"))
        make_jpegs(work / "few", 1000, (320, 240))
        make_jpegs(work / "many", 20 * 1000, (320, 240))
        few, many = (measured("start", work / name, work / f"store-{name}") for name in ("few", "many"))

    def ratios(top: list[float], bottom: list[float]) -> str:
        values = [a / b for a, b in zip(top, bottom, strict=True)]
        return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    decoding = [row["seconds"] for row in plain]
    rows = [
        ("store built / decoded plainly, two processes", ratios([r["store"] for r in built], decoding), "at most 1.3"),
        ("looked at and built / decoded plainly", ratios([r["looking"] + r["store"] for r in built], decoding), ""),
        ("decoded plainly, s", f"{median(decoding):.1f}", ""),
        ("later start to the first batch, s", f"{median(row['first_batch'] for row in later):.2f}", "under 2"),
        (
            "batches a second and core / ImageFolder",
            ratios([r["images_per_second"] for r in later], [r["images_per_second"] for r in folder]),
            "at least 5",
        ),
        ("peak memory of 1,000 images, MB", f"{few['peak_mb']:.0f} (imports {few['imports_mb']:.0f})", "under 1000"),
        ("peak memory of 20,000 images, MB", f"{many['peak_mb']:.0f}", "flat"),
    ]  # fmt: skip
    head = f"{count} JPEGs of {WIDTH}x{HEIGHT}, {rounds} rounds in turn: median (smallest to largest). "
    head += f"{os.cpu_count()} cores, Python {platform.python_version()}. Written by `make bench ARGS=--full`."
    table = "\n".join(["| what | measured | goal |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)])
    text = f"# Images to batches\n\n{head}\n\n{table}\n"
    (Path(__file__).parent / "bench_data.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        print(json.dumps(globals()[sys.argv[2]](*map(Path, sys.argv[3:]))))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 1000, 3)
