"""What a search leaves beside its storage: trials.csv, search.png, and its best configuration as a recipe."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, IntLogUniformDistribution, LogUniformDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from medclf.sweeps.best_recipe import build_recipe
from medclf.sweeps.optuna_study import load_study
from medclf.sweeps.search_plot import SearchTrials, search_plot
from medclf.utils.atomic_write import write_bytes
from medclf.utils.errors import MedclfError
from medclf.utils.safe_terminal import fail, print_message

LOGARITHMIC = (LogUniformDistribution, IntLogUniformDistribution)


def write_search_results(config: DictConfig) -> None:
    """Write the results of a search whose trials are done, and print what to type next."""
    study = load_study(config)
    folder = Path(config.hydra.callbacks.search.folder) / study.study_name
    table = trials_table(study)
    searched = SearchTrials(
        config.monitor, table, study.best_trial.number, _keys(study), _choices(study), _bounds(study)
    )
    for path, content in {
        folder / "trials.csv": table.to_csv(index=False).encode(),
        folder / "search.png": search_plot(searched).png(),
        folder / "experiment" / "best.yaml": build_recipe(config, study.best_trial, folder).encode(),
    }.items():
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)
    found = ", ".join(f"{key}={value}" for key, value in study.best_params.items())
    print_message(
        f"\nBest of {len(table)} trials: {config.monitor} {study.best_value:.4f} with {found}\n"
        f"  type it again: python -m medclf.train --config-dir {folder.as_posix()} experiment=best\n"
        f"  picture and table: {folder.as_posix()}/search.png, trials.csv\n"
    )


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """Return a row per trial in order of its start: value, best so far, state and settings."""
    keys = _keys(study)
    rows = [
        {
            "trial": trial.number,
            "value": trial.value,
            "state": trial.state.name.lower(),
            "begun": trial.datetime_start,
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **{key: trial.params.get(key) for key in keys},
        }
        for trial in study.get_trials()
        if trial.state is not TrialState.WAITING
    ]
    table = pd.DataFrame(rows).astype({"value": float, "seconds": float})
    # of one that broke and was tried again, the last time
    table = table[table["value"].notna() | ~table.duplicated(keys, keep="last")]
    values = table["value"]
    table.insert(2, "best_so_far", values.cummin() if study.direction is StudyDirection.MINIMIZE else values.cummax())
    return table


def _keys(study: optuna.Study) -> list[str]:
    return list(dict.fromkeys(key for trial in study.get_trials() for key in trial.params))


def _choices(study: optuna.Study) -> dict[str, list[str]]:
    return {
        key: [str(choice) for choice in space.choices]
        for trial in study.get_trials()
        for key, space in trial.distributions.items()
        if isinstance(space, CategoricalDistribution)
    }


def _bounds(study: optuna.Study) -> dict[str, tuple[float, float, str]]:
    return {
        key: (space.low, space.high, "log" if isinstance(space, LOGARITHMIC) else "linear")
        for trial in study.get_trials()
        for key, space in trial.distributions.items()
        if not isinstance(space, CategoricalDistribution)
    }


class SearchCallback(Callback):  # type: ignore[misc]  # Hydra has no types
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

        with _errors_end_the_command():
            write_search_results(config)


@contextmanager
def _errors_end_the_command() -> Iterator[None]:
    """Hydra makes a warning of a callback's error, and would go on without a study."""
    try:
        yield
    except MedclfError as error:
        fail(str(error))
