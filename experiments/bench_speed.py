"""How fast whole runs are, beside the same work as others write it: `make bench`.

Each figure is a process of its own, in turn (plain, off, ours, plain, …), on the same images: from the prompt to the
last file, start, validation and saving counted. `everything off` is medclf with float32, no reuse of features and no
report; `ours` as it comes, measured whole. What is measured over fewer epochs is scaled by the time of an epoch.

python experiments/bench_speed.py          a few minutes, on few images; only prints
python experiments/bench_speed.py --full   an hour; writes bench_speed.md
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from bench_data import make_jpegs
from PIL import Image

from medclf.utils.run_folder import processor_name

HERE = Path(__file__).parent
Ways = dict[str, Callable[[], float]]
PNGS, JPEGS, MANY = "pngs", "jpegs", "many"


@dataclass(frozen=True)
class Work:
    """What is done: the network, whether its backbone is frozen, on which images, epochs, and those others run."""

    name: str
    model: str
    frozen: bool
    images: str
    epochs: int
    few: int
    target: str
    peers: tuple[str, ...] = ()
    rounds: int = 2

    def words(self) -> list[str]:
        """What is typed after python -m medclf.train, but for the epochs."""
        frozen = ["model.frozen=true"] if self.frozen else []
        return [
            "dataset=folder", f"model={self.model}", *frozen, "augmentation=flip", "optimizer=adam", "scheduler=none",
            "dataset.channels=3", "dataset.splits.test=0.3", "dataset.splits.val=0.15", "dataset.duplicates.near=null",
            "trainer.enable_progress_bar=false",
        ]  # fmt: skip


WORKS = (
    Work("frozen ResNet-50, flips, 30 epochs", "resnet50", True, PNGS, 30, 1, "at least 30, goal 60"),
    Work("fine-tune ResNet-18, 6 epochs", "resnet18", False, PNGS, 6, 1, "at least 2.5, goal 3.5", ("fastai", "timm")),
    Work("custom CNN, 25 epochs, from JPEGs of 1300x1000", "cnn", False, JPEGS, 25, 1, "at least 5, goal 10"),
    Work("frozen ResNet-101, flips, 30 epochs", "resnet101", True, PNGS, 30, 1, "at least 40, goal 80", rounds=1),
    Work("fine-tune ResNet-50, 3 epochs", "resnet50", False, PNGS, 3, 1, "at least 2.5, goal 4", rounds=1),
)
MEMORY = "peak memory at ten times the images, custom CNN"
QUICK = 3
"""How many of the works a quick round does."""
OFF = ["trainer.precision=32-true", "model.feature_views=0", "evaluation=quick"]


def make_pngs(root: Path, count: int) -> None:
    """PNGs of 256x256 in two class folders, each of its own smooth noise."""
    for at in range(count):
        random = np.random.default_rng(at)
        coarse = Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        path = root / "ab"[at % 2] / f"{at:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(path)


def timed(command: Sequence[str]) -> tuple[float, str, float]:
    """Seconds that a command takes, what it prints, and its peak memory in MB."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, *command], stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - begin
        out.seek(0)
        printed = out.read()
    if status:
        sys.exit(printed)
    return taken, printed, usage.ru_maxrss / 1024


def by_peer(peer: str, work: Work, root: Path) -> float:
    """Seconds of another's way, scaled to all epochs by its last one: the first may compile."""
    few = 3 if peer == "timm" else work.few
    taken, printed, _ = timed([str(HERE / "peers.py"), peer, str(root), work.model, str(work.frozen), str(few)])
    told = next(line for line in reversed(printed.splitlines()) if line.startswith("{"))
    epochs = json.loads(told)["epochs"]
    return taken + (epochs[-1] * (work.epochs - few) if epochs else 0)


def by_us(work: Work, root: Path, store: Path, epochs: int, more: Sequence[str] = ()) -> tuple[float, float]:
    """Seconds of the command, scaled to all epochs of the work, and its peak memory in MB."""
    with tempfile.TemporaryDirectory(dir=root.parent) as name:
        words = [f"dataset.root={root}", f"dataset.store={store}", f"output={name}/run"]
        taken, _, peak = timed(["-m", "medclf.train", *work.words(), f"trainer.max_epochs={epochs}", *words, *more])
        told = json.loads((Path(name) / "run" / "run.json").read_text(encoding="utf-8"))
    return taken + float(told["training_seconds"]) / epochs * (work.epochs - epochs), peak


def sides(work: Work, root: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """The ways to do a work, by name."""

    def ours(epochs: int, *more: str) -> float:
        with tempfile.TemporaryDirectory(dir=root.parent) as store:  # nothing is there before
            return by_us(work, root, Path(store), epochs, more)[0]

    yield "plain loop", lambda: by_peer("plain", work, root)
    yield "ours, everything off", lambda: ours(work.few, *OFF)
    yield "ours", lambda: ours(work.epochs)
    for peer in work.peers:
        if find_spec(peer):
            yield peer, lambda peer=peer: by_peer(peer, work, root)  # type: ignore[misc]
    if work.frozen:
        kept = root.parent / f"kept_{work.model}"
        if not kept.is_dir():
            by_us(work, root, kept, 1)
        another = ["optimizer.lr=0.003"]
        yield "ours, another learning rate, same features", lambda: by_us(work, root, kept, work.epochs, another)[0]


def predicting(root: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """The ways to predict every image of a folder with a ResNet-50."""
    work = replace(WORKS[0], epochs=1)
    run = root.parent / "run"
    few = root.parent / "few"
    make_jpegs(few, 80, (256, 256))
    words = [f"dataset.root={few}", f"dataset.store={root.parent}/store", f"output={run}", "evaluation=quick"]
    timed(["-m", "medclf.train", *work.words(), "trainer.max_epochs=1", *words])

    def ours() -> float:
        with tempfile.TemporaryDirectory(dir=root.parent) as name:
            return timed(["-m", "medclf.predict", f"run={run}", f"input={root}", f"output={name}/out"])[0]

    yield "plain loop", lambda: by_peer("plain_predict", work, root)
    yield "ours, python -m medclf.predict", ours


def memory(root: Path, count: int) -> str:
    """Peak memory of an epoch of the CNN on ten times as many images, and on as many, as a row."""
    work = Work("", "cnn", False, MANY, 1, 1, "")
    few, many = (root / f"{size}" for size in (count, 10 * count))
    peaks = []
    for images in (few, many):
        make_jpegs(images, int(images.name), (256, 200))
        peaks.append(by_us(work, images, root / "store", 1, ["evaluation=quick"])[1])
    told = f"{peaks[1]:.0f} MB of {10 * count} images, {peaks[0]:.0f} MB of {count}"
    return f"| {MEMORY} | ours | {told} | {peaks[1] / peaks[0]:.2f} | at most 1.1 |"


def measured(name: str, target: str, ways: Ways, rounds: int) -> list[str]:
    """The rows of a work, each way in turn."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, seconds in ways.items():
            taken[way].append(seconds())
            print(f"{name}: {way}: {taken[way][-1]:.1f} s", flush=True)
    rows = []
    for way, values in taken.items():
        ratios = [plain / own for plain, own in zip(taken["plain loop"], values, strict=True)]
        goal = target if way == "ours" or way.startswith("ours, python") else ""
        rows.append(f"| {name} | {way} | {_spread(values, 0)} | {_spread(ratios, 1)} | {goal} |")
    return rows


def _spread(values: list[float], digits: int) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{median(values):.{digits}f}" + (f" ({low} to {high})" if len(values) > 1 else "")


def main(arguments: Sequence[str]) -> None:
    """Measure in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all works, two rounds of most, 778 images")
    parser.add_argument("--only", default="", metavar="WORD", help="works with this in their name; other rows stay")
    parser.add_argument("--images", type=Path, help="a folder of class folders, in place of made PNGs")
    options = parser.parse_args(arguments)
    pngs, jpegs, predicted, few = (778, 778, 1000, 500) if options.full else (120, 80, 100, 80)
    works = WORKS if options.full else tuple(replace(work, rounds=1) for work in WORKS[:QUICK])
    seen = f"{pngs} PNGs of 256x256" if options.images is None else f"the images of {options.images.name}"
    machine = f"{os.cpu_count()} cores ({processor_name()}), Python {platform.python_version()}"
    head = (
        f"# Runs\n\nSeconds from the prompt to the last file, and the plain loop's as a multiple, on {seen} or {jpegs} "
        f"JPEGs. {machine}, two rounds in turn, of the longest works "
        "one: median (smallest to largest). Rows may be of other days (`--only`). All but `ours` is measured over one "
        "to three epochs and scaled. Written by "
        "`make bench ARGS=--full`.\n\n| work | by | seconds | plain / this | target |\n|---|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if options.images is None:
            make_pngs(root / PNGS, pngs)
        else:
            (root / PNGS).symlink_to(options.images.absolute())
        make_jpegs(root / JPEGS, jpegs, (1300, 1000))
        # in a process of its own: the memory of this one would be counted as its children's
        printed = timed([str(HERE / "profiles.py")])[1].splitlines()
        bounds = printed[next(at for at, line in enumerate(printed) if line.startswith("What bounds")) :]
        rows = _written() if options.only else {}
        for work in works:
            if options.only in work.name:
                rows[work.name] = measured(work.name, work.target, dict(sides(work, root / work.images)), work.rounds)
                _write(head, rows, bounds, options.full)  # what there is by now
        name = f"prediction of {predicted} images, ResNet-50"
        if options.only in name:
            make_pngs(root / "predicted", predicted)
            ways = dict(predicting(root / "predicted"))
            rows[name] = measured(name, "at least 5, goal 10", ways, works[0].rounds)
        if options.only in MEMORY:
            rows[MEMORY] = [memory(root, few)]
    print(_write(head, rows, bounds, options.full))


def _written() -> dict[str, list[str]]:
    """The rows that are in the table, by work."""
    rows: dict[str, list[str]] = {}
    for line in (HERE / "bench_speed.md").read_text(encoding="utf-8").splitlines():
        cells = line.split(" | ")
        if len(cells) == 5 and cells[0] != "| work":
            rows.setdefault(cells[0].removeprefix("| "), []).append(line)
    return rows


def _write(head: str, rows: dict[str, list[str]], bounds: list[str], full: bool) -> str:
    page = head + "\n".join([*(line for lines in rows.values() for line in lines), "", *bounds]) + "\n"
    if full:
        (HERE / "bench_speed.md").write_text(page, encoding="utf-8")
    return page


if __name__ == "__main__":
    main(sys.argv[1:])
