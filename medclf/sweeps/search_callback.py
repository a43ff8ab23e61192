import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from medclf.utils.errors import MedclfError
from medclf.utils.terminal import fail


class Search(Callback):  # type: ignore[misc]  # Hydra has no types
    """Hydra callback of ``hpo=…``: opens the study before the trials, and writes down what came of it after them.

    Args:
        folder: searches are folders below it.
        grid: whether the trials are all combinations of the values, instead of what the sampler draws.
    """

    def __init__(self, folder: str, grid: bool) -> None:
        self.folder = Path(folder)
        self.grid = grid

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Tell the sweeper, which is built after this, where its study is and how much of it is still to do."""
        from medclf.sweeps.optuna_study import open_study  # Optuna, which the jobs do not need

        with _errors_end_the_command():
            open_study(config, self.folder, self.grid)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Give a broken job's value as None: the sweeper counts that as a failed trial, and breaks at NaN."""
        value = job_return._return_value  # return_value raises what the job raised
        if isinstance(value, float) and math.isnan(value):
            job_return.return_value = None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the search's table, its picture and its best configuration."""
        from medclf.sweeps.search_results import conclude

        with _errors_end_the_command():
            conclude(config)


@contextmanager
def _errors_end_the_command() -> Iterator[None]:
    """Hydra makes a warning of a callback's error, and would go on without a study."""
    try:
        yield
    except MedclfError as error:
        fail(str(error))
