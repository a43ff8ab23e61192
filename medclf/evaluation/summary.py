"""The results of a run as a person reads them, and as metrics.json holds them."""

import math
from typing import Any

from medclf.evaluation.metrics import Metrics


def metrics_table(metrics: Metrics, split: str) -> str:
    """Lines of name, value and n; under them the reason of each value that is not defined.

    ``n`` counts the images that a value is about: for sensitivity the positive ones, for precision those called so.
    """
    width = max(map(len, metrics.values), default=0)
    lines = [f"{split + ' metric':<{width}}    value      n"]
    for name, value in metrics.values.items():
        shown = "NaN" if math.isnan(value) else f"{value:.4f}"
        lines.append(f"{name:<{width}}   {shown:>6}  {metrics.n[name]:>5}")
    lines += [f"  {name} is not defined: {reason}" for name, reason in metrics.reasons.items()]
    return "\n".join(lines)


def as_json(metrics: Metrics) -> dict[str, Any]:
    """The same for a JSON file, in which what is not defined is null and has its reason."""
    values = {name: None if math.isnan(value) else value for name, value in metrics.values.items()}
    return {"n": metrics.images, **values, "n_of": metrics.n, "not_defined": metrics.reasons}
