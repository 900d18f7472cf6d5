"""The order of an epoch: computed once, as an array."""

import tracemalloc

import numpy as np
import pytest

from rpn_target.core.draws import sample_generator
from rpn_target.loader.order import ORDER, BatchSampler, Order


@pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_three_million_samples(shuffle, last_batch):
    order = Order(3_000_000, 4, 7, shuffle, last_batch=last_batch)
    batches = BatchSampler(order, 5, rank=2, num_ranks=8)
    tracemalloc.start()
    first = next(iter(batches))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(first) == 4 and all(type(number) is int for sample in first for number in sample)
    assert peak < 50 * 2**20


def test_order_is_that_of_the_generator():
    order = Order(50, 7, 3, shuffle=True)
    for epoch in (0, 9):
        samples = [sample for batch in BatchSampler(order, epoch, 0, 1) for sample in batch]
        wanted = sample_generator(3, epoch, ORDER).permutation(50)
        assert [sample.epoch for sample in samples] == [epoch] * 50
        np.testing.assert_array_equal([sample.index for sample in samples], wanted)


def test_indices_that_are_too_large():
    order = Order(2, 1, 3, sampler=[0, 2**63])
    with pytest.raises(ValueError, match="a sampler must give indices below 2"):
        next(iter(BatchSampler(order, 0, 0, 1)))
