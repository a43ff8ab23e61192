"""What bounds a ResNet on this processor: its convolutions beside a large product of matrices."""

import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from medclf.models.backbones import ResNet
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.models.network import Network
from medclf.utils.process_lifecycle import keep_freed_memory

BATCH = 32


def profiled() -> list[str]:
    """Lines of a table: images a second, the share of convolutions, and how many operations a second they do."""
    keep_freed_memory()
    peaks = {kind: f"{_matmul(kind):.0f}" for kind in (torch.float32, torch.bfloat16)}
    amx = " (with AMX)" if torch.cpu.get_capabilities().get("amx_bf16") else ""
    head = (
        "What bounds them: the share of a step's time in convolutions, and their pace. A product of two matrices of "
        f"2048x2048 runs here{amx} at {peaks[torch.float32]} GFLOP/s in float32, {peaks[torch.bfloat16]} in bfloat16.\n"
    )
    rows = [
        _row(f"{name}, {what}, {_name(kind)}", *_step(name, what == "training", kind))
        for name, what in (("resnet18", "training"), ("resnet50", "training"), ("resnet50", "folded, forward"))
        for kind in (torch.float32, torch.bfloat16)
    ]
    return [head, "| batch of 32 | images/s | in convolutions | their GFLOP/s |", "|---|---|---|---|", *rows]


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _matmul(kind: torch.dtype) -> float:
    left, right = (torch.randn(2048, 2048).to(kind) for _ in range(2))
    return 2 * 2048**3 / _seconds(lambda: left @ right, 10) / 1e9


def _seconds(call: Callable[[], object], times: int) -> float:
    call()
    call()
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def _step(name: str, training: bool, kind: torch.dtype) -> tuple[float, float, float]:
    """Images a second, the share of convolutions (with what is fused into them), and their GFLOP/s."""
    network = Network(ResNet(3, name), torch.nn.Identity(), [0.5] * 3, [0.2] * 3)
    images = torch.randint(0, 255, (BATCH, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:  # of what is folded it knows little
        network(images)
    if not training:
        network = fold_batchnorm(network)
    operations = counter.get_total_flops() * (3 if training else 1)  # backwards is twice as much
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind is torch.bfloat16), torch.set_grad_enabled(training):
            outputs = network(images)
        if training:
            outputs.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    seconds = _seconds(step, 3)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    events = seen.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    convolutions = sum(event.self_cpu_time_total for event in events if "convolution" in event.key) / whole
    return BATCH / seconds, convolutions, operations / (convolutions * seconds) / 1e9


def _row(name: str, pace: float, share: float, operations: float) -> str:
    return f"| {name} | {pace:.1f} | {share:.0%} | {operations:.0f} |"


if __name__ == "__main__":
    print("\n".join(profiled()))
