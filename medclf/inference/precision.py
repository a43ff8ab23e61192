"""The precision that a machine is built for."""

import torch

from medclf.config.trainer_schema import Precision
from medclf.utils.errors import ConfigError

BFLOAT16: Precision = "bf16-mixed"
FLOAT32: Precision = "32-true"


def choose_precision(accelerator: str) -> tuple[Precision, str]:
    """Return the precision for an accelerator by Lightning's name, and the reason.

    bfloat16 with weights in float32 where the processor or the GPU has instructions for it; the machine is asked.
    Everywhere else, on Apple's GPUs too, float32.
    """
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return (
            (BFLOAT16, "the GPU has bfloat16")
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else (FLOAT32, "the GPU has no bfloat16")
        )
    if accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available():
        return FLOAT32, "an Apple GPU"
    if accelerator in ("cpu", "auto") and _cpu_has_bfloat16():
        return BFLOAT16, "the processor has bfloat16"
    return FLOAT32, "the processor has no bfloat16"


def choose_device(accelerator: str) -> torch.device:
    """Return the device that Lightning would use for an accelerator.

    Raises:
        ConfigError: where the machine has none.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}.get(accelerator, (accelerator,))
    found = next((name for name in wanted if there.get(name)), None)
    if found is None:
        raise ConfigError(f"accelerator={accelerator}: there is no such device here; use accelerator=cpu")
    return torch.device(found)


def match_precision(own: Precision | None, accelerator: str) -> tuple[Precision, str]:
    """Return the precision for a trained model and the reason: float32 if it was trained in float32.

    Args:
        own: in which it was trained.
        accelerator: as Lightning names it.
    """
    mixed = str(own) in ("bf16-mixed", "16-mixed", "bf16-true", "16-true", "bf16", "16")
    return choose_precision(accelerator) if mixed else (FLOAT32, "as the run was trained")


def _cpu_has_bfloat16() -> bool:
    # AVX-512 without it, and older, only emulate it, slower than float32
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in checks)
