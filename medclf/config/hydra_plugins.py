"""Hydra's launchers and sweepers, some of which are extras of this package: whether they can work as they are set."""

import re
import shutil
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from medclf.config.limits import MAX_PARALLEL, MAX_SEED, MAX_STEPS, MAX_TRIALS
from medclf.config.messages import format_validation_errors
from medclf.utils.errors import ConfigError

EXTRAS = {
    "hydra/sweeper/optuna": "hpo",
    "hydra/launcher/joblib": "launchers",
    "hydra/launcher/submitit_local": "launchers",
    "hydra/launcher/submitit_slurm": "launchers",
}
"""By Hydra's name of a plugin's config: the extra that installs the plugin."""

Count = Annotated[int, Field(ge=1, le=MAX_STEPS)] | None


def _jobs(value: Any) -> Any:
    if type(value) is not int or not (value == -1 or 1 <= value <= MAX_PARALLEL):
        raise ValueError(f"must be a whole number from 1 to {MAX_PARALLEL}, or -1 for all cores")
    return value


def _dispatch(value: Any) -> Any:
    if not re.fullmatch(r"all|\d{1,6}|(\d{1,3}\s*\*\s*)?n_jobs", str(value)):
        raise ValueError("must be all, n_jobs, a number, or a multiple such as 2*n_jobs")
    return value


def _batch(value: Any) -> Any:
    if str(value) != "auto" and not re.fullmatch(r"[1-9]\d{0,5}", str(value)):
        raise ValueError("must be auto, or a whole number from 1")
    return value


class _Settings(BaseModel):
    """What is known of a plugin's settings; their types are Hydra's to check."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class LauncherConfig(_Settings):
    """Settings of the launchers joblib, submitit_local and submitit_slurm."""

    n_jobs: Annotated[Any, AfterValidator(_jobs)] = 1
    pre_dispatch: Annotated[Any, AfterValidator(_dispatch)] = "n_jobs"
    batch_size: Annotated[Any, AfterValidator(_batch)] = "auto"
    timeout: Annotated[float, Field(gt=0)] | None = None
    timeout_min: Count = None
    cpus_per_task: Count = None
    gpus_per_node: Annotated[int, Field(ge=0, le=MAX_PARALLEL)] | None = None
    tasks_per_node: Count = None
    nodes: Count = None
    mem_gb: Annotated[float, Field(gt=0, le=MAX_STEPS)] | None = None
    max_num_timeout: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    array_parallelism: Count = None


class SamplerConfig(_Settings):
    """Settings of Optuna's samplers."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    n_startup_trials: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = 10


class SweeperConfig(_Settings):
    """Settings of Hydra's own sweeper and of Optuna's."""

    n_trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 1
    n_jobs: Annotated[Any, AfterValidator(_jobs)] = 1
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    max_batch_size: Count = None
    direction: Literal["minimize", "maximize"] = "minimize"
    sampler: SamplerConfig | None = None


def explain_missing_plugin(config: str) -> str | None:
    """Return a message if a config is missing because a plugin is not installed, else None."""
    extra = EXTRAS.get(config)
    return extra and f"{config}: its plugin is not installed; pip install 'medclf[{extra}]'"


def validate_plugins(node: DictConfig) -> None:
    """Raise if launcher or sweeper cannot work as they are set, or not on this machine.

    Args:
        node: composed configuration of a sweep, Hydra's own node included.

    Raises:
        ConfigError: naming key, value and remedy.
    """
    schemas: dict[str, type[_Settings]] = {"launcher": LauncherConfig, "sweeper": SweeperConfig}
    for name, schema in schemas.items():
        settings = OmegaConf.to_container(node.hydra[name], resolve=True)
        try:
            schema.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(format_validation_errors(error, schema, f"hydra.{name}")) from error
    if str(node.hydra.launcher.get("_target_")).endswith("SlurmLauncher") and shutil.which("srun") is None:
        raise ConfigError(
            "launcher=slurm: srun is not on this machine; start the sweep where it is, or run the jobs here: "
            "launcher=joblib"
        )
