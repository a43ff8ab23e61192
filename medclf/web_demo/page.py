"""The page and what is put into it, as HTML. What comes from a model or a file is escaped."""

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from medclf.inference.model_metadata import ModelMetadata
from medclf.utils.text_escaping import escape_html
from medclf.web_demo.headline_metrics import HeadlineMetric
from medclf.web_demo.prediction_answer import SAID, Answer

TEMPLATES = Environment(
    loader=PackageLoader("medclf.web_demo", "page"),
    autoescape=select_autoescape(default=True),
    finalize=escape_html,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(facts: ModelMetadata, figures: list[HeadlineMetric], max_mb: float) -> str:
    """Return the page before any image is given."""
    name = facts.model.name if facts.model is not None else f"{facts.kind} of {len(facts.members)} models"
    template = TEMPLATES.get_template("page.html.j2")
    return template.render(facts=facts, name=name, figures=figures, max_mb=max_mb, kinds=SAID)


def render_answer(answer: Answer) -> str:
    """Return the HTML for an image."""
    return TEMPLATES.get_template("answer.html.j2").render(answer=answer)


def render_refusal(message: str) -> str:
    """Return the HTML for a refused file."""
    return TEMPLATES.get_template("refused.html.j2").render(message=message)


def read_asset(name: str) -> str:
    """Return a file of the page."""
    return files("medclf.web_demo").joinpath("page", name).read_text(encoding="utf-8")
