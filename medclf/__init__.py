"""medclf: from a folder of medical images to a classifier whose numbers can be trusted.

The functions of the Python API are imported when they are first used, so that ``import medclf`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medclf.utils.errors import MedclfError

if TYPE_CHECKING:
    from medclf.api import (
        DatasetAudit,
        TrainedModel,
        TrainedRun,
        audit_dataset,
        evaluate_predictions,
        load_model,
        load_run,
        train_model,
    )

__version__ = "0.1.0"
__all__ = [
    "DatasetAudit",
    "MedclfError",
    "TrainedModel",
    "TrainedRun",
    "audit_dataset",
    "evaluate_predictions",
    "load_model",
    "load_run",
    "train_model",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'medclf' has no attribute '{name}'")
    return getattr(import_module("medclf.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
