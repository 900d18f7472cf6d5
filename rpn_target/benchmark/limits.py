"""What no loader can be faster than: writing an image's part of a batch to shared memory."""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import numpy as np

from ..gluon.ndarray import SHARED, empty
from .cases import Case

__all__ = ["Limit", "batch_shapes", "measure_limit"]


class Limit(NamedTuple):
    """The size of an image with its targets in MB, and milliseconds to write that once.

    A page of fresh shared memory is first handed out by the kernel, zero-filled (a page fault);
    written again, it is just written.
    """

    case: str
    size: float
    fresh: float
    again: float


def batch_shapes(case: Case) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of what one image adds to a batch: image, cls, box and mask."""
    size = len(case.lattice)
    return (3, case.height, case.width), (size,), (size, 4), (size, 4)


def measure_limit(case: Case, repeats: int) -> Limit:
    """Write arrays of these shapes to shared memory, fresh each time, and then once more."""
    fresh, again = [], []
    for repeat in range(-1, repeats):  # the first only warms up
        times = []
        arrays = [empty(shape, ctx=SHARED) for shape in batch_shapes(case)]
        for _ in range(2):
            start = time.perf_counter()
            for _, out in arrays:
                out.fill(1)
            times.append((time.perf_counter() - start) * 1000)
        if repeat >= 0:
            fresh.append(times[0])
            again.append(times[1])
    size = sum(int(np.prod(shape)) for shape in batch_shapes(case)) * 4 / 1e6
    return Limit(case.name, size, median(fresh), median(again))
