"""The report and the model card: complete, self-contained, and safe from hostile names."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from helpers.evaluations import evaluated, history, seen

from medclf.config.composition import Composer
from medclf.metric_registry import headline_names, metric_label
from medclf.reporting.limitations import list_limitations
from medclf.reporting.run_description import RunSummary, summarize_table
from medclf.reporting.write_results import write_outcome

VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = ["<script>alert('x')</script>", 'b" onload="x | $y$ {{ 7*7 }}']


class Page(HTMLParser):
    """Reads a page and refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [(tag, value) for name, value in attributes if name in ("src", "href", "action", "data")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(" ".join(data.split()))

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def about(**changes):
    """What is known of a run whose images are those of ``splits``."""
    rows = [(f"{at}.png", ("a", "b")[at % 2], f"p{at // 2}", ("train", "val", "test")[at % 3]) for at in range(30)]
    facts = {
        "title": "livers, cnn",
        "config": Composer("train").compose([]),
        "record": {
            "status": "finished", "command": ["dataset=livers", "dataset.classes=[a, b]", "seed=3"], "started": "now",
            "ended": None, "python": "3.12", "platform": "Linux", "processor": "a processor", "cores": 2,
            "versions": {"torch": "2.6"}, "split_hash": "abcdef012345", "findings": ["two images are <b>alike</b>"],
            "device": "cpu", "training_seconds": 12.3,
        },
        "chosen": {"checkpoint": "x", "epoch": 4, "monitor": "val/loss", "monitor_value": 0.25},
        "images": pd.DataFrame(rows, columns=["path", "class", "group", "split"]),
    }  # fmt: skip
    return RunSummary(**{**facts, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    evaluation = evaluated(["a", "b"], n=200, columns={"site": ["north", "south"] * 100})
    write_outcome(evaluation, about(), folder, seen, history())
    return evaluation, folder


def text(folder, name="report.html"):
    return (folder / name).read_text(encoding="utf-8")


def of(classes, folder, **changes):
    """The report of a table of predictions."""
    evaluation = evaluated(classes, **changes)
    write_outcome(evaluation, summarize_table(folder / f"{classes[0][:1]}.csv", None), folder)
    return evaluation


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(run):
    page = Page(text(run[1]))
    pictures = sorted(path.name for path in (run[1] / "figures").glob("*.png"))
    images = [value for tag, value in page.links if tag == "img"]
    assert len(images) == len(pictures)
    assert all(value.startswith("data:image/png;base64,") for value in images)
    others = [value for tag, value in page.links if tag != "img"]
    assert all(value.startswith("#") for value in others)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text(run[1])


def test_every_link_of_the_page_leads_somewhere(run):
    page = text(run[1])
    for target in re.findall(r'href="#(\w+)"', page):
        assert f'id="{target}"' in page


def test_every_headline_value_stands_there_with_its_interval(run):
    evaluation, folder = run
    page = Page(text(folder)).text
    for name in headline_names(2):
        found = evaluation.metrics["test"].overall[name]
        assert f"{metric_label(name, 2)} {found.value:.4f} {found.low:.3f} to {found.high:.3f} {found.n}" in page
    for name in ("accuracy", "sensitivity"):
        found = evaluation.metrics["test"].overall[name]
        assert f"{metric_label(name, 2)} {found.value:.3f} {found.low:.3f} to {found.high:.3f} (n = {found.n})" in page


def test_metrics_have_labels_on_the_page_and_in_the_model_card(run):
    page, card = Page(text(run[1])).text, text(run[1], "model_card.md")
    assert "class Sensitivity Specificity PPV NPV F1 AUROC Average precision" in page
    assert "Log loss Brier score Calibration error before the temperature" in page
    for name in headline_names(2):
        assert f"| {metric_label(name, 2)} | " in card
        assert "_" not in name or (name not in page and name not in card), name


def test_limits_findings_and_the_line_that_repeats_it_stand_there(run):
    evaluation, folder = run
    page = Page(text(folder)).text
    for line in list_limitations(evaluation, about()):
        assert line in page
    assert "two images are <b>alike</b>" in page
    assert "python -m medclf.train dataset=livers 'dataset.classes=[a, b]' seed=3" in page
    assert "abcdef012345" in page
    assert "epoch 4, the best by val/loss = 0.2500" in page
    assert "site south" in page
    assert "all 10 10 10 30" in page


def test_hostile_names_stay_text(tmp_path):
    of(HOSTILE, tmp_path)
    page = text(tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    read = Page(page)
    assert HOSTILE[0] in read.text
    assert HOSTILE[1] in read.text


def test_hostile_names_of_a_run_stay_text(tmp_path):
    images = pd.DataFrame({"path": ["1"], "class": [HOSTILE[0]], "group": ["1"], "split": ["test"]})
    record = {**about().record, "findings": [HOSTILE[0]], "command": [f"dataset.root={HOSTILE[0]}"]}
    hostile = about(title=HOSTILE[0], images=images, record=record, notes=[HOSTILE[0]])
    write_outcome(evaluated(HOSTILE), hostile, tmp_path)
    assert "<script" not in text(tmp_path)
    Page(text(tmp_path))
    card = text(tmp_path, "model_card.md")
    assert "<script" not in card.partition("```")[0]
    rows = [line for line in card.splitlines() if line.startswith("|")]
    for line in rows:
        assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5), line


@pytest.mark.parametrize(("classes", "only"), [(["cat", "dog"], 0), (["a", "b", "c"], None), (["a", "b", "c"], 1)])
def test_a_table_without_a_run(tmp_path, classes, only):
    of(classes, tmp_path, only=only)
    page = Page(text(tmp_path))
    assert "What it was trained on" not in page.text
    assert f"python -m medclf.evaluate predictions={classes[0][:1]}.csv" in page.text
    assert "no picture of a misclassified test image" in page.text.lower()
    assert not (tmp_path / "model_card.md").exists()
    if only is not None:
        assert "not defined" in page.text


def test_the_model_card_has_the_numbers_of_both_checklists_and_marks_what_only_the_author_knows(run):
    card = text(run[1], "model_card.md")
    assert card.count("**AUTHOR**") > 10
    assert "{{" not in card
    assert "{%" not in card
    cells = re.findall(r"^\|[^|]*\| ([\d, ]+) \|", card, re.M) + re.findall(r"CLAIM ([\d, ]+)", card)
    claim = {int(number) for cell in cells for number in re.findall(r"\d+", cell)}
    assert set(range(1, 45)) <= claim, set(range(1, 45)) - claim
    for item in ("3a", "5a", "6b", "12a", "12e", "18e", "20a", "23a", "26"):
        assert re.search(rf"\b{item}\b", card), item
    found = run[0].metrics["test"].overall["accuracy"]
    assert f"| Accuracy | {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] | {found.n} | Wilson |" in card


def test_the_tables_of_the_model_card_have_as_many_cells_in_each_row(run):
    block = []
    for line in [*text(run[1], "model_card.md").splitlines(), ""]:
        if line.startswith("|"):
            block.append(line.count("|"))
        elif block:
            assert len(set(block)) == 1, line
            assert len(block) > 2, "a header alone is no table"
            block = []


def test_the_model_card_of_other_images_calls_that_an_external_test(tmp_path):
    write_outcome(evaluated(["a", "b"]), about().elsewhere("others", ["Images of class x were left out."]), tmp_path)
    card, page = text(tmp_path, "model_card.md"), Page(text(tmp_path)).text
    assert "External testing on others" in card
    assert "Internal evaluation (" not in card
    assert "External validation: the images are those of others, the model is of livers, cnn." in page
    assert "Images of class x were left out." in page
    assert "every figure of this page again" not in page


@pytest.mark.parametrize("classes", [("patients", "controls"), ("all", "none")])
def test_classes_named_as_a_row_of_the_counts_are_counted(classes):
    rows = [(f"{at}.png", classes[at % 2], f"p{at // 4}", ("train", "test")[at // 4 % 2]) for at in range(40)]
    counts = about(images=pd.DataFrame(rows, columns=["path", "class", "group", "split"])).counts()
    assert list(counts) == ["train", "test", "all"]
    assert sorted(counts.index) == sorted([*classes, "all", "patients"])
    assert counts.iloc[-2:].to_numpy().tolist() == [[20, 20, 40], [5, 5, 10]]
    assert counts.iloc[:2].to_numpy().tolist() == [[10, 10, 20]] * 2


def test_limits_say_what_is_little():
    few, many = evaluated(["a", "b"], n=40), evaluated(["a", "b"], n=400)
    lines = list_limitations(few, about())
    assert any("test patients are of class a: its intervals are wide" in line for line in lines)
    assert any("leave the accuracy anywhere between" in line for line in lines)
    assert not any("intervals are wide" in line for line in list_limitations(many, about()))
    assert lines[-1] == "A research tool, no medical device."
    assert any("(a 50%, b 50%)" in line for line in lines)
    assert any(
        "no test image is of class b" in line.lower()
        for line in list_limitations(evaluated(["a", "b"], only=0), about())
    )
