"""NDArrays on a CPU context, read and written through NumPy without a copy."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, MXNetError, check_call

__all__ = ["SHARED", "as_numpy", "empty", "shared_empty", "view"]

SHARED = mx.Context("cpu_shared", 0)
"""Memory that a worker process hands to its parent without a copy; fresh, it is all zeros."""

# A forked process must not collect MXNet's shared memory that it inherits in reference cycles, as
# of another DataLoader left half read: it would count down MXNet's references, which both
# processes share, and its parent would fail with "count >= 0" when it frees the memory itself.
if hasattr(os, "register_at_fork"):  # not on Windows, where no process is forked
    os.register_at_fork(after_in_child=gc.freeze)


class _Memory:
    """The memory of an NDArray in numpy's array interface; keeps the NDArray alive."""

    def __init__(self, array: mx.nd.NDArray):
        address = ctypes.c_void_p()
        check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(address)))
        self._array = array
        self.__array_interface__ = {
            "version": 3,
            "data": (address.value, False),
            "shape": array.shape,
            "typestr": np.dtype(array.dtype).str,
        }


def view(array: mx.nd.NDArray) -> np.ndarray:
    """Return a numpy view of an NDArray on a CPU context, once what writes to it is done.

    Write to the view only before any operator has the NDArray as its input or output: MXNet's
    engine does not know of it.
    """
    array.wait_to_read()
    if not array.size:  # has no memory
        return np.zeros(array.shape, array.dtype)
    return np.asarray(_Memory(array))


def empty(
    shape: tuple[int, ...], dtype: Any = np.float32, ctx: mx.Context | None = None
) -> tuple[mx.nd.NDArray, np.ndarray]:
    """Return a new NDArray, not initialized, and a `view` of it."""
    array = mx.nd.empty(shape, ctx=ctx or mx.cpu(), dtype=dtype)
    return array, view(array)


def shared_empty(
    shape: tuple[int, ...], dtype: Any = np.float32
) -> tuple[mx.nd.NDArray, np.ndarray]:
    """Return a new NDArray in MXNet's shared memory, all zeros, and a `view` of it.

    Raises
    ------
    OSError
        If /dev/shm, which it is taken from, has too little space. MXNet itself says nothing until
        the memory is written to, which kills the process.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        array = mx.nd.empty(shape, ctx=SHARED, dtype=dtype)
        if sys.platform == "linux":
            fd = array._to_shared_mem()[1]
            os.posix_fallocate(fd, 0, os.fstat(fd).st_size)
    except (OSError, MXNetError) as error:
        raise OSError(
            f"/dev/shm has no space for {size} bytes of shared memory, with which worker processes "
            "send batches: give it more (docker run --shm-size=1g), or use fewer workers"
        ) from error
    return array, view(array)


def as_numpy(array: Any) -> np.ndarray:
    """Return an NDArray or array-like as numpy, without a copy where none is needed."""
    if not isinstance(array, mx.nd.NDArray):
        return np.asarray(array)
    on_cpu = array.stype == "default" and array.context.device_type.startswith("cpu")
    return view(array) if on_cpu else array.asnumpy()
