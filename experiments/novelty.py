"""Which distance tells images that do not belong: nearest neighbours or Mahalanobis, on real models and images.

python experiments/novelty.py RUN... NAME=FOLDER...

RUN is a finished run whose images lie where they lay. FOLDER holds images of another kind; those of a model whose
dataset is called NAME are its own. Pictures that are generated here are one more kind. Each distance is fitted on at
most 512 training images, and its threshold leaves 5 % of the validation images above it. Writes novelty.md.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image, ImageDraw
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from medclf.inference.loading import load_model
from medclf.inference.ood import average_maps
from medclf.inference.ood_fitting import FITTED, fit_ood_detector
from medclf.inference.predictor import NetworkInputs, Predictor
from medclf.utils.run_folder import Run

MOST, BATCH, COMPONENTS = 200, 32, 64
SUFFIXES = (".png", ".jpg", ".jpeg")
Floats = NDArray[Any]
Distance = Callable[[Floats], Floats]
Method = Callable[[Floats, NDArray[np.str_]], Distance]


BETWEEN = (
    "Each model: AUROC and the share called unlike. The features of a small CNN are the mean of each of its maps, or,",
    "where the line says so, the flattened maps that its head is given.",
    "",
)


class Outcome(NamedTuple):
    """Of one method on one model: the share of test images called unlike, and AUROC and share of each strange kind."""

    model: str
    method: str
    false_alarms: float
    found: dict[str, tuple[float, float]]


def neighbours(count: int) -> Method:
    """To the k-th nearest training image among features of length 1 (Sun et al., ICML 2022)."""

    def fit(features: Floats, classes: NDArray[np.str_]) -> Distance:
        known = NearestNeighbors(n_neighbors=count).fit(normalize(features))
        return lambda images: np.asarray(known.kneighbors(normalize(images))[0][:, -1])

    return fit


def mahalanobis(features: Floats, classes: NDArray[np.str_]) -> Distance:
    """To the mean, with a shrunk covariance: what medclf does."""
    return fit_ood_detector(features, 1).distance


def by_class(features: Floats, classes: NDArray[np.str_]) -> Distance:
    """To the nearest class's mean (Lee et al., NeurIPS 2018)."""
    means = {label: features[classes == label].mean(0) for label in np.unique(classes)}
    shared = fit_ood_detector(features - np.stack([means[label] for label in classes]), 1)
    return lambda images: np.asarray(np.min([shared.distance(images - mean) for mean in means.values()], axis=0))


def of_length_1(features: Floats, classes: NDArray[np.str_]) -> Distance:
    """Of features scaled to length 1 (Mueller and Hein, ICML 2025)."""
    known = fit_ood_detector(normalize(features), 1)
    return lambda images: known.distance(normalize(images))


def of_components(features: Floats, classes: NDArray[np.str_]) -> Distance:
    """Among the first principal components alone."""
    pca = PCA(min(COMPONENTS, *features.shape), svd_solver="full").fit(features)
    known = fit_ood_detector(pca.transform(features), 1)
    return lambda images: known.distance(pca.transform(images))


METHODS: dict[str, Method] = {
    "Mahalanobis (chosen)": mahalanobis,
    "Mahalanobis, a mean for each class": by_class,
    "Mahalanobis, features of length 1": of_length_1,
    f"Mahalanobis, {COMPONENTS} principal components": of_components,
    "nearest neighbour": neighbours(1),
    "5th nearest neighbour": neighbours(5),
    "50th nearest neighbour": neighbours(50),
}


def generated(size: int = 256) -> Iterator[Image.Image]:
    """Noise, gradients, plain areas, pages of text, drawn shapes: 60 pictures."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[0:size, 0:size] / size
    for _ in range(10):
        yield Image.fromarray(random.integers(0, 256, (size, size), dtype=np.uint8))
        coarse = random.integers(0, 256, (8, 8), dtype=np.uint8)
        yield Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        slope = down * random.normal() + right * random.normal()
        yield Image.fromarray(np.uint8(255 * (slope - slope.min()) / np.ptp(slope)))
        yield Image.new("L", (size, size), int(random.integers(0, 256)))
        page = Image.new("L", (size, size), 255)
        letters = "".join(random.choice(list("abcdefghij klmnop\n"), 1500))
        ImageDraw.Draw(page).multiline_text((8, 8), letters, fill=0)
        yield page
        shapes = Image.new("L", (size, size), int(random.integers(128, 256)))
        for _ in range(6):
            low, high = np.sort(random.integers(0, size, (2, 2)), axis=0)
            ImageDraw.Draw(shapes).rectangle((*low.tolist(), *high.tolist()), fill=int(random.integers(0, 256)))
        yield shapes


def features_of(engine: Predictor, images: list[NetworkInputs]) -> Floats:
    """What the head is given, shape (n, f)."""
    parts = [np.zeros((0, 1), np.float32)][: not images]
    for begin in range(0, len(images), BATCH):
        forms = zip(*images[begin : begin + BATCH], strict=True)
        batch = [torch.from_numpy(np.stack(form)).to(engine.device) for form in forms]
        with torch.inference_mode():
            parts.append(engine.classifier(*batch).features.float().cpu().numpy())
    return np.concatenate(parts)


def sampled(folder: Path) -> list[str]:
    """At most so many images of a folder, drawn."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [str(path) for path in np.random.default_rng(0).permutation(sorted(paths))[:MOST]]


def outcomes(name: str, own: dict[str, Floats], classes: NDArray[np.str_], others: dict[str, Floats]) -> list[Outcome]:
    """Of each method."""
    found = []
    for method, fit in METHODS.items():
        distance = fit(own["train"], classes)
        threshold = np.quantile(distance(own["val"]), 0.95, method="inverted_cdf")
        known = distance(own["test"])
        told = {}
        for kind, features in others.items():
            strange = distance(features)
            truth = np.repeat([0, 1], [len(known), len(strange)])
            auroc = roc_auc_score(truth, np.concatenate([known, strange]))
            told[kind] = (float(auroc), float((strange > threshold).mean()))
        found.append(Outcome(name, method, float((known > threshold).mean()), told))
    return found


def measured(run: Run, folders: dict[str, Path]) -> tuple[list[Outcome], dict[str, int]]:
    """What each method does for one model, and how many images there are of each kind."""
    engine = Predictor(load_model(run.best_facts), accelerator="cpu", precision="32-true")
    config = OmegaConf.load(run.config)
    table = pd.read_csv(run.splits, dtype=str, keep_default_na=False)
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(table["split"] == "train"))[:FITTED]
    parts = {"train": table.iloc[np.sort(drawn)], **{part: table[table["split"] == part] for part in ("val", "test")}}
    root = Path(str(config.dataset.root))
    own = {
        part: features_of(engine, [engine.see(root, path) for path in frame["path"]]) for part, frame in parts.items()
    }
    others = {
        name: features_of(engine, [engine.see(folder, path) for path in sampled(folder)])
        for name, folder in folders.items()
        if name != config.dataset.name
    }
    others["generated"] = features_of(engine, [engine.look(image) for image in generated()])
    how = ", frozen" if config.model.frozen else ""
    name = f"{config.dataset.name}, {config.model.name}{how}, {config.dataset.image_size} px"
    classes = parts["train"]["class"].to_numpy(np.str_)
    values = getattr(engine.classifier.joint.get_submodule("network.backbone"), "map_values", 1)
    found = []
    if values > 1:
        found += outcomes(f"{name}, maps flattened", own, classes, others)
    own, others = ({part: average_maps(each, values) for part, each in group.items()} for group in (own, others))
    return found + outcomes(name, own, classes, others), {part: len(each) for part, each in (own | others).items()}


def summary(found: list[Outcome]) -> list[str]:
    """A line for each method: the mean over models and kinds of image."""
    lines = ["| distance | AUROC | called unlike | the least | false alarms on test |", "|---|---|---|---|---|"]
    for method in METHODS:
        mine = [outcome for outcome in found if outcome.method == method and "flattened" not in outcome.model]
        pairs = np.asarray([pair for outcome in mine for pair in outcome.found.values()])
        alarms = np.mean([outcome.false_alarms for outcome in mine])
        auroc, share = pairs.mean(0)
        lines.append(f"| {method} | {auroc:.3f} | {share:.0%} | {pairs[:, 1].min():.0%} | {alarms:.1%} |")
    return lines


def details(found: list[Outcome], kinds: list[str]) -> list[str]:
    """A line for each model and method."""
    lines = [
        f"| model | distance | false alarms on test | {' | '.join(kinds)} |",
        f"|---|---|---|{'---|' * len(kinds)}",
    ]
    for outcome in found:
        cells = [
            f"{outcome.found[kind][0]:.3f}, {outcome.found[kind][1]:.0%}" if kind in outcome.found else "its own"
            for kind in kinds
        ]
        lines.append(f"| {outcome.model} | {outcome.method} | {outcome.false_alarms:.1%} | {' | '.join(cells)} |")
    return lines


def heading(counts: dict[str, int], strange: list[str]) -> list[str]:
    """What the tables are about."""
    kinds = ", ".join(f"{kind} {counts[kind]}" for kind in strange if kind in counts)
    return [
        "# Images that do not belong",
        "",
        "How well a distance from the training images in the network's features tells them. Written by novelty.py, in",
        "float32 on a CPU. AUROC: of strange images against the model's own test images. Called unlike: the share of",
        "strange images above the threshold, which leaves 5 % of the model's validation images above it.",
        f"At most {FITTED} training images are fitted to. Strange images: {kinds}.",
        "",
        "The mean over models and kinds, and the least share of any kind that a model calls unlike:",
        "",
    ]


def main() -> None:
    """Measure, and write the tables."""
    folders = {name: Path(folder) for name, sign, folder in (word.partition("=") for word in sys.argv[1:]) if sign}
    found: list[Outcome] = []
    counts: dict[str, int] = {}
    for run in (word for word in sys.argv[1:] if "=" not in word):
        more, images = measured(Run(Path(run)), folders)
        found += more
        counts |= images
    strange = [*folders, "generated"]
    text = "\n".join([*heading(counts, strange), *summary(found), "", *BETWEEN, *details(found, strange), ""])
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
