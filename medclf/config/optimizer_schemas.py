"""The optimizers of torch that a configuration may name, and their arguments.

Left out are ``params``, which is ours to give; ``maximize``, which would train for the worst network; and
``capturable`` and ``differentiable``, which nothing here uses.
"""

from typing import Annotated

from pydantic import Field, model_validator

from medclf.config.field_types import ComponentConfig, Components, NonNegative, Positive, Share

Betas = Annotated[list[Share], Field(min_length=2, max_length=2)]
PositivePair = Annotated[list[Positive], Field(min_length=2, max_length=2)]


class OptimizerArguments(ComponentConfig):
    """What all optimizers of torch take. Every one needs a learning rate."""

    lr: Positive
    weight_decay: NonNegative = 0.0
    foreach: bool | None = None


class AdamConfig(OptimizerArguments):
    """Arguments of ``torch.optim.Adam`` and ``AdamW``."""

    betas: Betas = Field([0.9, 0.999])
    eps: NonNegative = 1e-8
    amsgrad: bool = False
    fused: bool | None = None


class NAdamConfig(OptimizerArguments):
    """Arguments of ``torch.optim.NAdam``."""

    betas: Betas = Field([0.9, 0.999])
    eps: NonNegative = 1e-8
    momentum_decay: NonNegative = 0.004
    decoupled_weight_decay: bool = False


class RAdamConfig(OptimizerArguments):
    """Arguments of ``torch.optim.RAdam``."""

    betas: Betas = Field([0.9, 0.999])
    eps: NonNegative = 1e-8
    decoupled_weight_decay: bool = False


class AdamaxConfig(OptimizerArguments):
    """Arguments of ``torch.optim.Adamax``."""

    betas: Betas = Field([0.9, 0.999])
    eps: NonNegative = 1e-8


class AdagradConfig(OptimizerArguments):
    """Arguments of ``torch.optim.Adagrad``."""

    lr_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10
    fused: bool | None = None


class AdadeltaConfig(OptimizerArguments):
    """Arguments of ``torch.optim.Adadelta``."""

    rho: Annotated[float, Field(ge=0, le=1)] = 0.9
    eps: NonNegative = 1e-6


class RMSpropConfig(OptimizerArguments):
    """Arguments of ``torch.optim.RMSprop``."""

    alpha: Share = 0.99
    eps: NonNegative = 1e-8
    momentum: NonNegative = 0.0
    centered: bool = False


class SGDConfig(OptimizerArguments):
    """Arguments of ``torch.optim.SGD``."""

    momentum: NonNegative = 0.0
    dampening: Annotated[float, Field(ge=0, le=1)] = 0.0
    nesterov: bool = False
    fused: bool | None = None

    @model_validator(mode="after")
    def _check_nesterov(self) -> "SGDConfig":
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov=true needs a momentum above 0 and a dampening of 0")
        return self


class ASGDConfig(OptimizerArguments):
    """Arguments of ``torch.optim.ASGD``."""

    lambd: NonNegative = 1e-4
    alpha: NonNegative = 0.75
    t0: NonNegative = 1e6


class RpropConfig(ComponentConfig):
    """Arguments of ``torch.optim.Rprop``."""

    lr: Positive
    etas: PositivePair = Field([0.5, 1.2])
    step_sizes: PositivePair = Field([1e-6, 50.0])
    foreach: bool | None = None

    @model_validator(mode="after")
    def _check_etas(self) -> "RpropConfig":
        if not self.etas[0] < 1 < self.etas[1]:
            raise ValueError("etas are a factor below 1 and one above 1, such as [0.5,1.2]")
        return self


class AdafactorConfig(OptimizerArguments):
    """Arguments of ``torch.optim.Adafactor``."""

    beta2_decay: Annotated[float, Field(le=0)] = -0.8
    d: Annotated[float, Field(ge=1)] = 1.0


OPTIMIZERS: Components = {
    "torch.optim.Adam": AdamConfig,
    "torch.optim.AdamW": AdamConfig,
    "torch.optim.NAdam": NAdamConfig,
    "torch.optim.RAdam": RAdamConfig,
    "torch.optim.Adamax": AdamaxConfig,
    "torch.optim.Adagrad": AdagradConfig,
    "torch.optim.Adadelta": AdadeltaConfig,
    "torch.optim.RMSprop": RMSpropConfig,
    "torch.optim.SGD": SGDConfig,
    "torch.optim.ASGD": ASGDConfig,
    "torch.optim.Rprop": RpropConfig,
    "torch.optim.Adafactor": AdafactorConfig,
}
