"""What is answered for an image is what the model itself says of it."""

import base64
import dataclasses
import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.model_metadata import read_metadata
from medclf.utils.json_yaml import read_json
from medclf.utils.run_folder import Run
from medclf.web_demo.headline_metrics import get_headline_metrics
from medclf.web_demo.page import render_answer, render_page, render_refusal
from medclf.web_demo.prediction_answer import answer_image, load_warm_predictor


@pytest.fixture(scope="module")
def engine(finished):
    return load_warm_predictor(Run(finished[0]).best_facts, "cpu", trust_code=False)


@pytest.fixture(scope="module")
def content():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_answer(engine, content):
    said = answer_image(engine, content)
    seen = np.asarray(opened(said.seen))
    assert seen.shape == (32, 32)
    # by the network as it was saved, not by the engine
    outputs = engine.model.classifier(torch.from_numpy(seen.copy())[None, None])
    expected, predicted = outputs.probabilities[0].detach().numpy(), int(outputs.predicted[0])
    assert [bar.probability for bar in said.bars] == pytest.approx(expected, abs=1e-6)
    assert [bar.name for bar in said.bars] == engine.model.classes
    assert said.decided == engine.model.classes[predicted]
    assert [bar.decided for bar in said.bars] == [place == predicted for place in range(2)]
    assert [bar.threshold is not None for bar in said.bars] == [
        name == engine.model.facts.positive for name in engine.model.classes
    ]
    assert opened(said.overlay).size == (32, 32)
    assert opened(said.overlay).mode == "RGB"


def test_damaged(engine, content):
    with pytest.raises(UnreadableImageError):
        answer_image(engine, content[: len(content) // 2])


def test_what_does_not_belong_is_said_first(engine, content):
    said = dataclasses.replace(answer_image(engine, content), unlike=True, likeness="It does not look like them.")
    html = render_answer(said)
    assert html.lstrip().startswith('<div class="alarm"')
    assert html.index("Does not belong.") < html.index(said.likeness) < html.index(said.decided)
    assert "Does not belong." not in render_answer(dataclasses.replace(said, unlike=False))
    assert said.likeness in render_answer(dataclasses.replace(said, unlike=None))


def test_no_overlay_is_said(engine, content):
    html = render_answer(dataclasses.replace(answer_image(engine, content), overlay=None))
    assert "no Grad-CAM" in html
    assert "what spoke for" not in html


def test_names_are_no_html(engine, content):
    said = dataclasses.replace(answer_image(engine, content), decided="<script>", why="<script>", likeness="<script>")
    facts = engine.model.facts.model_copy(update={"classes": ["<script>"], "dataset": "<script>"})
    assert "<script>" not in render_answer(said) + render_refusal("<script>")
    assert render_page(facts, [], 1).count("<script") == 1  # its own


def test_figures(finished, tmp_path):
    run = Run(finished[0])
    facts = read_metadata(run.best_facts)
    figures = {figure.label: figure for figure in get_headline_metrics(run.best_facts, facts)}
    test = read_json(run.metrics)["test"]
    assert list(figures) == ["AUROC", "Sensitivity", "Specificity"]
    assert figures["AUROC"].value == f"{test['auroc_macro']:.3f}"
    low, high = test["interval_95"]["auroc_macro"]
    assert figures["AUROC"].interval == f"{low:.3f} to {high:.3f}"
    assert figures["Sensitivity"].n + figures["Specificity"].n == test["n"]
    assert "0.5" in render_page(facts, list(figures.values()), 1)
    # a model that was copied out of its run brings none
    shutil.copy(run.best_facts, tmp_path / "best.json")
    assert get_headline_metrics(tmp_path / "best.json", facts) == []
    assert "Not known here" in render_page(facts, [], 1)
