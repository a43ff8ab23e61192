"""The arguments of lightning.Trainer: their names, types and ranges. Imports no Lightning."""

import ast
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from medclf.config.callback_schemas import check_duration
from medclf.config.field_types import not_null
from medclf.config.limits import MAX_DEVICES, MAX_NODES, MAX_STEPS, MAX_TEXT
from medclf.config.messages import ARGUMENT
from medclf.utils.errors import format_list, suggest

SET_ELSEWHERE = {
    "callbacks": "callbacks=[NAME]",
    "logger": "logger=[NAME]",
    "default_root_dir": "hydra.run.dir=FOLDER",
}
"""Arguments of lightning.Trainer that other keys set."""
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
    """The arguments of lightning.Trainer; ``trainer_validation`` checks whether they fit each other.

    Fields without a default are listed in ``conf/trainer/default.yaml``; the others have Lightning's own default.
    Further arguments of the installed Lightning can be a number, true, false or null.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False, str_max_length=MAX_TEXT)

    accelerator: Accelerator
    devices: Annotated[Any, AfterValidator(_devices)]
    precision: Precision | None
    max_epochs: Endless | None
    num_sanity_val_steps: Endless | None
    log_every_n_steps: Count | None
    strategy: Strategy = "auto"
    num_nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    min_epochs: Count | None = None
    max_steps: Endless = -1
    min_steps: Count | None = None
    max_time: Annotated[Any, AfterValidator(check_duration)] = None
    limit_train_batches: Batches = None
    limit_val_batches: Batches = None
    limit_test_batches: Batches = None
    limit_predict_batches: Batches = None
    overfit_batches: Annotated[Any, AfterValidator(_batches), AfterValidator(not_null)] = 0.0
    val_check_interval: Annotated[Any, AfterValidator(_interval)] = None
    check_val_every_n_epoch: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = 1
    enable_checkpointing: Flag = None
    enable_progress_bar: Flag = None
    enable_model_summary: Flag = None
    accumulate_grad_batches: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 1
    gradient_clip_val: Annotated[float, Field(ge=0)] | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: Literal[True, False, "warn"] | None = None
    benchmark: Flag = None
    inference_mode: bool = True
    use_distributed_sampler: bool = True
    profiler: Literal["simple", "advanced", "pytorch"] | None = None
    detect_anomaly: bool = False
    barebones: bool = False
    fast_dev_run: Annotated[Any, AfterValidator(_fast_dev_run)] = False
    plugins: Annotated[Any, AfterValidator(_no_plugins)] = None
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: Count = 0
    enable_autolog_hparams: bool = True
    model_registry: None = None

    @model_validator(mode="after")
    def _check_further_arguments(self) -> "TrainerConfig":
        for name, value in (self.model_extra or {}).items():
            if problem := _describe_problem(name, value):
                raise PydanticCustomError(ARGUMENT, "{problem}", {"at": [name], "problem": problem})
        return self


def _describe_problem(name: str, value: Any) -> str | None:
    """Return what is wrong with an argument that ``TrainerConfig`` does not list; None if it can be passed on."""
    if name in SET_ELSEWHERE:
        return f"is not set here; use {SET_ELSEWHERE[name]}"
    installed = [item for item in list_trainer_arguments() if item not in SET_ELSEWHERE]
    if name not in installed:
        valid = list(dict.fromkeys([*TrainerConfig.model_fields, *installed]))
        return f"lightning.Trainer has no such argument; {suggest(name, valid)}Valid: {format_list(valid, 50)}"
    number = isinstance(value, int | float) and math.isfinite(value) and abs(value) <= MAX_STEPS
    if value is not None and not number:
        return "this version of medclf does not know this argument; it can be null, true, false or a number up to 1e9"
    return None


@cache
def list_trainer_arguments() -> tuple[str, ...]:
    """Return the arguments of the installed lightning.Trainer, read from its source: importing it takes seconds."""
    spec = find_spec("lightning")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for path in (Path(folder) / "pytorch" / "trainer" / "trainer.py" for folder in folders):
        if path.is_file():
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name == "Trainer":
                    return tuple(_constructor_arguments(node))
    return ()


def _constructor_arguments(node: ast.ClassDef) -> list[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return [argument.arg for argument in [*item.args.args[1:], *item.args.kwonlyargs]]
    return []
