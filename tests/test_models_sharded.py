"""Blockwise arithmetic equals arithmetic on the whole. Sharded: see `test_regularizers.py`."""

import pytest
import torch
from torch.testing import assert_close

from neuronscope.models import sharded

SHAPES = ((), (1,), (7,), (5, 3), (4, 2, 3), (0, 3))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(sharded, "BLOCK_CPU", 6)


def pairs():
    generator = torch.Generator().manual_seed(0)
    return [
        tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        for shape in SHAPES
    ]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_blocks_are_views_that_cover_every_entry_once(number):
    counted = torch.zeros(SHAPES[number])
    for (block,) in sharded.blocks(counted):
        assert block.numel() <= 6
        block += 1
    assert (counted == 1).all()


def test_rows_larger_than_a_block_are_separate_blocks():
    assert [len(block) for (block,) in sharded.blocks(torch.zeros(3, 20))] == [1, 1, 1]


def test_sums_over_pairs_are_those_of_the_whole():
    one, other = (
        torch.cat([part.flatten() for part in parts]) for parts in zip(*pairs(), strict=True)
    )
    squares, products = sharded.squares_and_products(pairs())
    assert_close(squares, float(one @ one))
    assert_close(products, float(one @ other))
    assert_close(sharded.squares_between(pairs()), float((one - other) @ (one - other)))
    assert sharded.squares_and_products([]) == (0.0, 0.0)
    assert sharded.squares_between([]) == 0.0
