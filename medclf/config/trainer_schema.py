"""The arguments of lightning.Trainer that conf/trainer/default.yaml lists: their types and ranges."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from medclf.config.callback_schemas import check_duration
from medclf.config.field_types import not_null
from medclf.config.limits import MAX_DEVICES, MAX_NODES, MAX_STEPS, MAX_TEXT

Precision = Literal[
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", 32, 16, 64, "32", "16", "64", "bf16"
]  # fmt: skip
Accelerator = Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
Strategy = Literal[
    "auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "ddp_spawn", "ddp_fork",
    "ddp_notebook",
]  # fmt: skip
"""Those that copy the process are refused with a message of their own."""


def _is_whole(value: Any, low: int, high: int = MAX_STEPS) -> bool:
    return type(value) is int and low <= value <= high


def _batches(value: Any) -> Any:
    """A whole number counts batches, a fraction is a share of them: 1 is one batch, 1.0 is all."""
    if value is None or _is_whole(value, 0) or (type(value) is float and 0 <= value <= 1):
        return value
    raise ValueError("must be a whole number of batches, or a share of them from 0.0 to 1.0")


def _interval(value: Any) -> Any:
    if value is None or _is_whole(value, 1) or (type(value) is float and 0 < value <= 1):
        return value
    raise ValueError("must be a whole number of batches, or a share of an epoch above 0.0 and up to 1.0")


def _devices(value: Any) -> Any:
    if value == "auto" or value == -1 or _is_whole(value, 1, MAX_DEVICES):
        return value
    names = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    numbers = [item.strip() if isinstance(item, str) else str(item) for item in names if type(item) is not bool]
    numbers = [item for item in numbers if item]  # "0," is the first GPU
    if numbers and len(set(numbers)) == len(numbers) <= MAX_DEVICES and all(item.isdecimal() for item in numbers):
        return value
    raise ValueError(f"must be a number from 1 to {MAX_DEVICES}, auto, or the numbers of GPUs, such as [0,1]")


def _fast_dev_run(value: Any) -> Any:
    if type(value) is bool or _is_whole(value, 0):
        return value
    raise ValueError("must be true, false, or a whole number of batches")


def _no_plugins(value: Any) -> Any:
    if value:
        raise ValueError("must be null; a plugin of Lightning is an object, which a configuration cannot hold")
    return value


Batches = Annotated[Any, AfterValidator(_batches)]
Count = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Endless = Annotated[int, Field(ge=-1, le=MAX_STEPS)]
Flag = bool | None


class TrainerConfig(BaseModel):
    """The arguments of lightning.Trainer. What they must be to each other is checked in ``trainer_checks``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_max_length=MAX_TEXT)

    accelerator: Accelerator
    strategy: Strategy
    devices: Annotated[Any, AfterValidator(_devices)]
    num_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    precision: Precision | None
    max_epochs: Endless | None
    min_epochs: Count | None
    max_steps: Endless
    min_steps: Count | None
    max_time: Annotated[Any, AfterValidator(check_duration)]
    limit_train_batches: Batches
    limit_val_batches: Batches
    limit_test_batches: Batches
    limit_predict_batches: Batches
    overfit_batches: Annotated[Any, AfterValidator(_batches), AfterValidator(not_null)]
    val_check_interval: Annotated[Any, AfterValidator(_interval)]
    check_val_every_n_epoch: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None
    num_sanity_val_steps: Endless | None
    log_every_n_steps: Count | None
    enable_checkpointing: Flag
    enable_progress_bar: Flag
    enable_model_summary: Flag
    accumulate_grad_batches: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    gradient_clip_val: Annotated[float, Field(ge=0)] | None
    gradient_clip_algorithm: Literal["norm", "value"] | None
    deterministic: Literal[True, False, "warn"] | None
    benchmark: Flag
    inference_mode: bool
    use_distributed_sampler: bool
    profiler: Literal["simple", "advanced", "pytorch"] | None
    detect_anomaly: bool
    barebones: bool
    fast_dev_run: Annotated[Any, AfterValidator(_fast_dev_run)]
    plugins: Annotated[Any, AfterValidator(_no_plugins)]
    sync_batchnorm: bool
    reload_dataloaders_every_n_epochs: Count
    enable_autolog_hparams: bool
    model_registry: None
