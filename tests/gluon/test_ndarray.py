"""Shared memory, and processes that inherit it."""

import gc
import multiprocessing

import mxnet as mx
import pytest

from rpn_target.gluon.ndarray import SHARED, empty


class Cycle:
    """Something only the garbage collector frees."""

    def __init__(self, value):
        self.value = value
        self.itself = self


@pytest.mark.parametrize("number_of_processes", [1, 3])
def test_garbage_when_a_process_is_forked(number_of_processes):
    """The forked process leaves it alone, and so it is freed once."""
    array, values = empty((2, 3), ctx=SHARED)
    values[:] = 5
    cycle = Cycle(array)
    gc.disable()
    try:
        del array, values, cycle
        for _ in range(number_of_processes):
            process = multiprocessing.get_context("fork").Process(target=gc.collect)
            process.start()
            process.join(60)
            assert process.exitcode == 0
        gc.collect()
    finally:
        gc.enable()
    mx.nd.waitall()
