"""MXNet's shared memory, where it is used at all."""

import errno
import os
import sys

import helpers
import numpy as np
import pytest

from rpn_target.gluon.ndarray import SHARED, shared_empty, view


def test_shared_memory_is_zero_and_shared():
    array, values = shared_empty((3, 5), np.float64)
    assert array.context == SHARED
    assert array.shape == (3, 5) and array.dtype == np.float64
    assert not values.any()
    values[:] = 7
    assert (array.asnumpy() == 7).all() and (view(array) == 7).all()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /dev/shm")
def test_too_little_space(monkeypatch):
    """MXNet alone would be killed by a bus error when it writes."""

    def full(fd, offset, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"/dev/shm has no space for 60 bytes .* --shm-size=1g"):
        shared_empty((3, 5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("number_of_processes", [1, 3])
def test_garbage_when_a_process_is_forked(number_of_processes):
    """The forked process leaves it alone, and so it is freed once."""

    def make():
        array, values = shared_empty((2, 3))
        values[:] = 5
        return array

    helpers.collect_in_forks(make, number_of_processes)
