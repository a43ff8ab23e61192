"""Classes come up equally often, and processes share one draw."""

import pytest
import torch

from medclf.data.dataloader import BalancedSampler

ROWS = {0: 900, 1: 90, 2: 10}
TARGET = torch.cat([torch.full((count,), label) for label, count in ROWS.items()])


def draw(epoch=0, processes=1, rank=0, seed=0, target=TARGET):
    sampler = BalancedSampler(target, processes, rank, seed)
    sampler.set_epoch(epoch)
    rows = list(sampler)
    assert len(rows) == len(sampler)
    return rows


def test_classes_come_up_equally_often():
    """Within four standard deviations of a third of the draws; each of the ten rows of the rarest class comes up."""
    rows = torch.tensor(draw())
    counts = torch.bincount(TARGET[rows]).tolist()
    assert counts == pytest.approx([1000 / 3] * 3, abs=4 * (1000 * 1 / 3 * 2 / 3) ** 0.5)
    assert set(rows[TARGET[rows] == 2].tolist()) == set(range(990, 1000))


def test_rows_of_a_class_come_up_equally_often():
    rows = torch.tensor([row for epoch in range(10) for row in draw(epoch)])
    counts = torch.bincount(rows, minlength=1000)[990:]
    n = int(counts.sum())
    assert counts.tolist() == pytest.approx([n / 10] * 10, abs=4 * (n * 0.1 * 0.9) ** 0.5)


def test_processes_take_turns_in_one_draw():
    whole = draw()
    assert draw(processes=2, rank=0) == whole[0::2]
    assert draw(processes=2, rank=1) == whole[1::2]


@pytest.mark.parametrize(("rows", "processes", "each"), [(1000, 1, 1000), (1000, 2, 500), (999, 2, 500), (10, 4, 3)])
def test_length(rows, processes, each):
    """What does not divide is filled up, so that every process has as many."""
    target = torch.arange(rows) % 2
    for rank in range(processes):
        assert len(draw(processes=processes, rank=rank, target=target)) == each


def test_same_epoch_same_draw_and_another_another():
    assert draw(epoch=3) == draw(epoch=3)
    assert draw(epoch=3) != draw(epoch=4)
    assert draw(seed=3) != draw(seed=4)


def test_a_draw_leaves_the_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw()
    assert torch.equal(torch.get_rng_state(), before)
