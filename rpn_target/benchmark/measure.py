"""What all measurements share: whether results are equal, and how much memory is in use."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import random
import zlib
from typing import Any, Callable, Iterator

import mxnet as mx
import numpy as np

from ..gluon.ndarray import as_numpy

__all__ = [
    "ResultsDiffer",
    "arrays_of",
    "check_equal",
    "checksum",
    "peak_memory",
    "random_state",
    "seed_all",
    "used_memory",
]


class ResultsDiffer(Exception):
    """GluonCV and this package gave different results, or left different random states."""


def seed_all(seed: int) -> None:
    """Seed NumPy's global generator and Python's."""
    random.seed(seed)
    np.random.seed(seed + 1)


def random_state() -> tuple:
    """Return the state of both."""
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, np.asarray(keys).tolist(), *rest)


def arrays_of(nested: Any) -> Iterator[Any]:
    """Yield the arrays in nested lists and tuples, in order."""
    if isinstance(nested, (list, tuple)):
        for part in nested:
            yield from arrays_of(part)
    else:
        yield nested


def check_equal(theirs: Any, ours: Any, name: str) -> None:
    """Compare nested arrays, in number, shape and every value.

    Raises
    ------
    ResultsDiffer
        If they are not equal.
    """
    pairs = [(theirs, ours)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, (list, tuple)):
            if len(a) != len(b):
                raise ResultsDiffer(f"{name}: GluonCV gives {len(a)} parts, we give {len(b)}")
            pairs.extend(zip(a, b))
        elif not np.array_equal(as_numpy(a), as_numpy(b)):
            raise ResultsDiffer(f"{name}: GluonCV and rpn_target differ")


def checksum(nested: Any) -> tuple:
    """Return shape, dtype and a checksum of every array; 0 and -0 count as equal."""
    arrays = (as_numpy(array) for array in arrays_of(nested))
    return tuple(
        (array.shape, str(array.dtype), zlib.crc32(np.ascontiguousarray(array + 0).tobytes()))
        for array in arrays
    )


def resident_memory(field: str = "VmRSS") -> float | None:
    """Return a figure of this process's memory in MB, or None where Linux's /proc is missing."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def used_memory(field: str = "VmRSS") -> float | None:
    """Return a figure of this process's memory in MB without what was freed, if it is known."""
    mx.nd.waitall()
    gc.collect()
    mx.nd.waitall()  # MXNet frees in its own time
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # not glibc
        return None
    return resident_memory(field)


def peak_memory(function: Callable) -> float | None:
    """Return how far a call raises the resident memory at most, its outputs included, in MB.

    It runs in a forked process of its own, since memory once freed need not be returned.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_report_peak, args=(function, sender))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        child.join()


def _report_peak(function: Callable, sender: Any) -> None:
    before = used_memory()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # sets the peak to the current size
    except OSError:
        before = None
    if before is None:
        sender.send(None)
        return
    result = function(0)
    peak = resident_memory("VmHWM")
    sender.send(None if peak is None else max(0.0, peak - before))
    del result
