"""The learning rate of each step, by hand."""

import pytest
import torch

from medclf.training.schedules import build_schedule, warmup_cosine

HEAD, BACKBONE = 0.1, 0.02


@pytest.fixture
def optimizer():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (HEAD, BACKBONE)]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def course(optimizer, schedule, steps):
    """The rates of each group in each step, and what is left after the last."""
    found = []
    for _ in range(steps):
        found.append(rates(optimizer))
        optimizer.step()
        schedule["scheduler"].step()
    return *(list(group) for group in zip(*found, strict=True)), rates(optimizer)


def test_cosine(optimizer):
    schedule = build_schedule({"name": "cosine", "warmup": 0.2}, optimizer, 10, "val/loss")
    assert schedule["interval"] == "step"
    head, backbone, left = course(optimizer, schedule, 10)
    # 2 steps up, then (1 + cos(k * 22.5 degrees)) / 2
    factors = [0.5, 1, 1, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]
    assert head == pytest.approx([HEAD * factor for factor in factors], rel=1e-5)
    assert backbone == pytest.approx([BACKBONE * factor for factor in factors], rel=1e-5)
    assert left == pytest.approx([0, 0], abs=1e-12)


def test_cosine_without_a_rise_starts_at_the_top(optimizer):
    schedule = build_schedule({"name": "cosine", "warmup": 0.0}, optimizer, 4, "val/loss")
    head, _, _ = course(optimizer, schedule, 4)
    assert head == pytest.approx([HEAD * factor for factor in (1, 0.8535534, 0.5, 0.1464466)], rel=1e-5)


def test_cosine_stays_down():
    assert [warmup_cosine(step, steps=1, rise=0) for step in (0, 1, 2)] == [1, 0, 0]


def test_one_cycle(optimizer):
    schedule = build_schedule({"name": "one_cycle", "warmup": 0.5}, optimizer, 10, "val/loss")
    assert schedule["interval"] == "step"
    for lr, group in zip((HEAD, BACKBONE), course(optimizer, schedule, 10), strict=False):
        assert group[0] == pytest.approx(lr / 25)
        assert group.index(max(group)) == 4
        assert max(group) == pytest.approx(lr)
        assert group[-1] == pytest.approx(lr / 25 / 10_000)


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0.1), (2, 0.5)])
def test_one_cycle_that_rises_for_one_step(optimizer, steps, warmup):
    schedule = build_schedule({"name": "one_cycle", "warmup": warmup}, optimizer, steps, "val/loss")
    head, _, _ = course(optimizer, schedule, steps)
    assert 0 < max(head) <= HEAD * (1 + 1e-9)


@pytest.mark.parametrize(("monitor", "better", "worse"), [("val/loss", 0.5, 2.0), ("val/accuracy", 2.0, 0.5)])
def test_plateau(optimizer, monitor, better, worse):
    config = {"name": "plateau", "factor": 0.5, "patience": 2}
    schedule = build_schedule(config, optimizer, 10, monitor)
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", monitor)
    head = []
    # the best, two epochs of patience, better in time; then one epoch too many; then the rate falls again
    for value in [1, worse, worse, better, 1, 1, 1, 1, 1, 1]:
        schedule["scheduler"].step(value)
        head.append(rates(optimizer)[0])
    assert head == pytest.approx([HEAD] * 6 + [HEAD / 2] * 3 + [HEAD / 4])
    assert rates(optimizer)[1] == pytest.approx(BACKBONE / 4)


def test_none(optimizer):
    assert build_schedule({"name": "none"}, optimizer, 10, "val/loss") is None
    assert rates(optimizer) == [HEAD, BACKBONE]
