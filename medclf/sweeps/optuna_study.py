"""The Optuna study of a search: which one it is, and what is still to do in it."""

import hashlib
import itertools
import json
import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from medclf.sweeps.sweep_jobs import compute_job_identity
from medclf.utils.errors import ConfigError, DataError

log = logging.getLogger(__name__)
_held: dict[Path, FileLock] = {}
"""Kept for as long as the process lives: two of them in one study would take each other's trials for dead ones."""
for noisy in ("alembic", "optuna"):  # their tables and files
    logging.getLogger(noisy).setLevel(logging.WARNING)


def open_study(config: DictConfig, root: Path, grid: bool) -> None:
    """Find the study of a search or begin it, queue what broke off, and set the sweeper's node accordingly.

    Args:
        config: of the sweep, Hydra's node included, which is changed.
        root: searches are folders below it.
        grid: queue all combinations that are not done.

    Raises:
        ConfigError: when another process is at this search, or a grid has an interval.
        DataError: when the storage cannot be read.
    """
    sweeper = config.hydra.sweeper
    space, _ = get_search_space(config)
    sweeper.study_name = f"{sweeper.study_name}_{_digest(config, space)}"
    folder = root / sweeper.study_name
    folder.mkdir(parents=True, exist_ok=True)
    _hold(folder)
    if sweeper.storage is None:
        sweeper.storage = f"sqlite:///{(folder / 'study.db').as_posix()}"
    try:
        study = optuna.create_study(
            sweeper.storage, study_name=sweeper.study_name, direction=sweeper.direction, load_if_exists=True
        )
        _refuse_foreign(study, sweeper.storage, space)
        _set_to_do(study, sweeper, list_combinations(space) if grid else None)
    except (SQLAlchemyError, ValueError, KeyError, TypeError) as error:  # Optuna decodes what is stored as JSON
        raise DataError(f"hydra.sweeper.storage={sweeper.storage}: cannot be read: {error}") from error
    if sweeper.n_jobs < 1:  # joblib's word for all cores
        sweeper.n_jobs = os.cpu_count() or 1


def load_study(config: DictConfig) -> optuna.Study:
    """Load the study that ``open_study`` named.

    Raises:
        DataError: for a trial with values that the search cannot have tried.
    """
    study = optuna.load_study(config.hydra.sweeper.study_name, config.hydra.sweeper.storage)
    _refuse_foreign(study, config.hydra.sweeper.storage, get_search_space(config)[0])
    return study


def _refuse_foreign(study: optuna.Study, storage: str, space: dict[str, BaseDistribution]) -> None:
    """Refuse a study that holds other values than those searched: they would be typed as overrides.

    Raises:
        DataError: naming the trial.
    """
    for trial in study.get_trials():
        queued = trial.system_attrs.get("fixed_params") or {}
        for key, value in [*trial.params.items(), *(queued.items() if isinstance(queued, dict) else [])]:
            if key not in space or not _is_within(space[key], value):
                raise DataError(
                    f"hydra.sweeper.storage={storage}: trial {trial.number} has {key}={value!r}, which this search "
                    "cannot have tried; the file was changed, so start the search in another folder: "
                    "hydra.callbacks.search.folder=FOLDER"
                )


def _is_within(distribution: BaseDistribution, value: object) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    low, high = getattr(distribution, "low", -math.inf), getattr(distribution, "high", math.inf)
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(low <= value <= high)


def get_search_space(config: DictConfig) -> tuple[dict[str, BaseDistribution], dict[str, Any]]:
    """Return the searched keys and the other typed ones, as the sweeper reads them."""
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    space, fixed = create_params_from_overrides([*params, *config.hydra.overrides.task])
    return {key: value for key, value in space.items() if key not in fixed}, fixed


def list_combinations(space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Return every combination of the values of a space, the last key changing fastest."""
    choices = [getattr(distribution, "choices", None) for distribution in space.values()]
    if None in choices:
        raise ConfigError(f"{list(space)[choices.index(None)]}: a grid needs single values: 0.001,0.003,0.01")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]  # type: ignore[arg-type]


def _digest(config: DictConfig, space: dict[str, BaseDistribution]) -> str:
    """Of what a search keeps fixed and of where it looks: trials of other images or settings never come into it."""
    searched = {key: distribution_to_json(distribution) for key, distribution in space.items()}
    facts = json.dumps([compute_job_identity(_root_=config), searched], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:8]


def _hold(folder: Path) -> None:
    lock = _held.setdefault(folder.absolute(), FileLock(folder.absolute() / ".lock"))
    try:
        if not lock.is_locked:
            lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"{folder}: another process is at this search; wait for it, or end it") from error


def _set_to_do(study: optuna.Study, sweeper: DictConfig, wanted: list[dict[str, Any]] | None) -> None:
    trials = study.get_trials()
    done = [trial.params for trial in trials if trial.state is TrialState.COMPLETE]
    queued = [trial.system_attrs["fixed_params"] for trial in trials if trial.state is TrialState.WAITING]
    for trial in trials:
        if trial.state is TrialState.RUNNING:  # the process that ran it is gone
            study.tell(trial.number, state=TrialState.FAIL)
    broken = [trial.params for trial in trials if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        for params in broken if wanted is None else wanted:
            if params not in done and params not in queued:
                study.enqueue_trial(params)
                queued.append(params)
    left = max(0, sweeper.n_trials - len(done))
    sweeper.n_trials = left if wanted is None else min(left, len(queued))
    # else a sampler that starts again draws again what it drew before
    sweeper.sampler.seed = (sweeper.sampler.seed or 0) + len(trials)
    if trials:
        log.info("%s: %d trials done, %d to do.", study.study_name, len(done), sweeper.n_trials)
