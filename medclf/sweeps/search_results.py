"""What a search leaves beside its storage: trials.csv, search.png, and its best configuration as a recipe."""

from pathlib import Path

import optuna
import pandas as pd
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, IntLogUniformDistribution, LogUniformDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from medclf.sweeps.best_recipe import recipe
from medclf.sweeps.optuna_study import load_study
from medclf.sweeps.search_plot import Searched, search_picture
from medclf.utils.atomic_write import write_bytes
from medclf.utils.terminal import say

LOGARITHMIC = (LogUniformDistribution, IntLogUniformDistribution)


def conclude(config: DictConfig) -> None:
    """Write the results of a search whose trials are done, and print what to type next."""
    study = load_study(config)
    folder = Path(config.hydra.callbacks.search.folder) / study.study_name
    table = trials_table(study)
    searched = Searched(config.monitor, table, study.best_trial.number, _keys(study), _choices(study), _bounds(study))
    for path, content in {
        folder / "trials.csv": table.to_csv(index=False).encode(),
        folder / "search.png": search_picture(searched).png(),
        folder / "experiment" / "best.yaml": recipe(config, study.best_trial, folder).encode(),
    }.items():
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content)
    found = ", ".join(f"{key}={value}" for key, value in study.best_params.items())
    say(
        f"\nBest of {len(table)} trials: {config.monitor} {study.best_value:.4f} with {found}\n"
        f"  type it again: python -m medclf.train --config-dir {folder.as_posix()} experiment=best\n"
        f"  picture and table: {folder.as_posix()}/search.png, trials.csv\n"
    )


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """A row a trial, in the order in which they began: its value, the best so far, how it went, and its settings."""
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
