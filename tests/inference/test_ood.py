"""Images that do not belong: the distance against scikit-learn's, and what a trained run says of strange pictures."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import TINY_PHANTOM
from omegaconf import OmegaConf
from PIL import Image
from sklearn.covariance import LedoitWolf

from medclf.inference.loading import load_model
from medclf.inference.ood import OODDetector
from medclf.inference.ood_fitting import fit_ood_detector
from medclf.inference.predictor import Predictor
from medclf.reporting.run_description import format_false_alarms
from medclf.utils.errors import DataError
from medclf.utils.run_folder import Run


def drawn(rows, columns, seed):
    random = np.random.default_rng(seed)
    return (random.random((rows, columns)) @ random.normal(size=(columns, columns))).astype(np.float32)


@pytest.fixture
def known():
    return fit_ood_detector(drawn(40, 6, 0), 1).judged(np.arange(1.0, 101), np.array([95.25, 95.75, 200, 3]))


@pytest.mark.parametrize(("images", "features"), [(200, 12), (30, 80)])
def test_the_distance_is_that_of_scikit_learn(images, features):
    training, others = drawn(images, features, 0), drawn(50, features, 1)
    expected = np.sqrt(LedoitWolf().fit(training.astype(np.float64)).mahalanobis(others))
    np.testing.assert_allclose(fit_ood_detector(training, 1).distance(others), expected, rtol=1e-4)


def test_maps_are_averaged():
    maps = drawn(50, 24, 0)
    means = np.stack([maps[:, 4 * at : 4 * at + 4].mean(1) for at in range(6)], axis=1)
    np.testing.assert_allclose(
        fit_ood_detector(maps, 4).distance(maps), fit_ood_detector(means, 1).distance(means), rtol=1e-4
    )


def test_the_threshold_leaves_five_in_a_hundred_above_it(known):
    assert (known.threshold, known.false_alarms, known.validation) == (95.5, 5, 100)
    assert (known.test_alarms, known.test) == (2, 4)
    few = known.judged(np.array([3.0, 1, 2]), np.array([4.0]))
    assert (few.threshold, few.false_alarms, few.test_alarms) == (pytest.approx(3.03), 0, 1)


def test_features_that_are_no_numbers_are_unlike_all_others(known):
    assert known.distance(np.full((2, 6), np.nan, np.float32)).tolist() == [np.inf, np.inf]


def test_equal_training_images():
    known = fit_ood_detector(np.ones((5, 3), np.float32), 1)
    assert known.distance(np.ones((1, 3), np.float32)) == 0
    assert known.distance(np.zeros((1, 3), np.float32)) > 1e6


def test_what_is_saved_is_read(known, tmp_path):
    known.save(tmp_path / "novelty.npz")
    found = OODDetector.load(tmp_path / "novelty.npz")
    assert {name: value for name, value in vars(found).items() if not isinstance(value, np.ndarray)} == {
        name: value for name, value in vars(known).items() if not isinstance(value, np.ndarray)
    }
    others = drawn(50, 6, 1)
    np.testing.assert_array_equal(found.distance(others), known.distance(others))
    assert [path.name for path in tmp_path.iterdir()] == ["novelty.npz"]


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


DAMAGED = {
    "cut": lambda whole, parts: whole[: len(whole) // 2],
    "empty": lambda whole, parts: b"",
    "text": lambda whole, parts: b"no archive",
    "lacks one": lambda whole, parts: saved(**{name: parts[name] for name in parts if name != "rest"}),
    "does not fit": lambda whole, parts: saved(**parts | {"mean": np.zeros(9)}),
    "a pickle": lambda whole, parts: saved(**parts | {"rest": np.array({}, dtype=object)}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_named(known, tmp_path, kind):
    path = tmp_path / "novelty.npz"
    known.save(path)
    path.write_bytes(DAMAGED[kind](path.read_bytes(), vars(known)))
    with pytest.raises(DataError, match=r"novelty\.npz: cannot be read: .+"):
        OODDetector.load(path)


def test_a_changed_byte_is_refused_or_changes_nothing(known, tmp_path):
    path, others, refused = tmp_path / "novelty.npz", drawn(50, 6, 1), 0
    known.save(path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            found = OODDetector.load(path)
        except DataError:
            refused += 1
            continue
        np.testing.assert_array_equal(found.distance(others), known.distance(others))
        assert format_false_alarms(found) == format_false_alarms(known)
    assert refused > 50


def seen(folder, part):
    """The model of a run, and the images of a split as it sees them."""
    engine = Predictor(load_model(Run(folder).best_facts), accelerator="cpu")
    root = folder.parents[3] if "runs" in folder.parts else folder.parent
    root = root / OmegaConf.load(folder / "config.yaml").dataset.root
    splits = pd.read_csv(folder / "splits.csv")
    return engine, [engine.see(root, path) for path in splits.loc[splits["split"] == part, "path"]]


def strange(size=64):
    """Pictures that are no ultrasound."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[0:size, 0:size]
    chequer = np.uint8(255 * ((down // 8 + right // 8) % 2))
    noise = random.integers(0, 256, (size, size), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in (noise, chequer, np.full_like(noise, 255), 255 - noise // 8)]


def test_a_trained_model_calls_strange_images_unlike_and_its_own_as_rarely_as_it_says(finished):
    engine, images = seen(finished[0], "val")
    known, validation = engine.model.novelty, engine.predict(images).unlike
    assert (known.false_alarms, known.validation) == (validation.sum(), len(validation))
    test = engine.predict(seen(finished[0], "test")[1]).unlike
    assert (known.test_alarms, known.test) == (test.sum(), len(test))
    assert engine.predict([engine.look(image) for image in strange()]).unlike.all()


def test_the_rate_is_stated(finished):
    folder, answer = finished
    words = format_false_alarms(OODDetector.load(folder / "checkpoints/novelty.npz"))
    assert words in answer.text
    assert words in (folder / "train.log").read_text(encoding="utf-8")
    assert words.replace("'", "&#39;") in (folder / "report.html").read_text(encoding="utf-8")
    assert words in (folder / "model_card.md").read_text(encoding="utf-8")


def test_the_words_give_the_rate_with_its_interval(known):
    words = format_false_alarms(known)
    # Wilson's interval by hand: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96
    assert "5 of 100 validation images (5.0%, 95 % interval 2.2% to 11.2%)" in words
    assert "2 of 4 test images (50.0%, 95 % interval 15.0% to 85.0%)" in words


@pytest.mark.parametrize(
    "words",
    [
        ["model=cnn", "augmentation=strong"],
        ["model=resnet18", "model.frozen=true", "augmentation=flip"],
        ["model=resnet18", "model.frozen=true", "augmentation=strong", "model.feature_views=2"],
    ],
)
def test_it_is_fitted_to_training_images_as_they_are(train, finished, tmp_path, words):
    shutil.copytree(finished[0].parents[3] / "data", tmp_path / "data")
    answer = train(*TINY_PHANTOM, *words, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert answer.code == 0, answer.text
    engine, images = seen(tmp_path / "run", "train")
    with torch.inference_mode():
        features = engine.classifier(torch.from_numpy(np.stack([form for (form,) in images]))).features.numpy()
    known = engine.model.novelty
    assert known.map_values == (49 if "model=cnn" in words else 1)
    expected = features.reshape(len(images), len(known.mean), -1).mean(2)
    np.testing.assert_allclose(known.mean, expected.mean(0), rtol=1e-4, atol=1e-5)
    # shrinkage moves variance from where the images vary to where they do not: the trace is theirs
    trace = known.variance.sum() + known.rest * (len(known.mean) - len(known.variance))
    np.testing.assert_allclose(trace, expected.var(0).sum(), rtol=1e-3)
    assert known.validation == len(seen(tmp_path / "run", "val")[1])
