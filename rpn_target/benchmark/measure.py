"""Running both sides in turns: times, equality, and the memory a step needs."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import random
import time
from statistics import median
from typing import Callable, NamedTuple

import mxnet as mx
import numpy as np

from .steps import VARIANTS, Step

__all__ = ["Measurement", "measure", "used_memory"]


class Measurement(NamedTuple):
    """What one step took. Times in milliseconds, memory in megabytes."""

    step: str
    case: str
    boxes: int
    theirs: float
    ours: float
    floor: float
    seeded: float | None
    their_peak: float | None
    our_peak: float | None

    @property
    def ratio(self) -> float:
        """How many times faster this package is."""
        return self.theirs / self.ours

    @property
    def seeded_ratio(self) -> float | None:
        """Likewise, drawing from a Generator."""
        return None if self.seeded is None else self.theirs / self.seeded


def measure(step: Step, repeats: int, memory: bool = True) -> Measurement:
    """Measure one step.

    Every repeat runs both sides from the same random state and on the same data, in turns, with
    the order swapped from one to the next.

    Raises
    ------
    AssertionError
        If the two sides differ in their results, or in the random state they leave.
    """
    sides = {"theirs": step.theirs, "ours": step.ours, "floor": step.floor}
    if step.seeded:
        sides["seeded"] = step.seeded
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(-1, repeats):  # the first round only warms up
        variant = repeat % VARIANTS
        outcomes = {}
        for name in sorted(sides, reverse=bool(repeat % 2)):
            _seed(repeat)
            start = time.perf_counter()
            result = sides[name](variant)
            elapsed = time.perf_counter() - start
            if repeat >= 0:
                times[name].append(elapsed * 1000)
            outcomes[name] = result, _random_state()
            del result
        _check_equal(outcomes["theirs"], outcomes["ours"], f"{step.name}, {step.case}")
    peaks = (peak_memory(step.theirs), peak_memory(step.ours)) if memory else (None, None)
    medians = {name: median(values) for name, values in times.items()}
    return Measurement(
        step.name,
        step.case,
        step.boxes,
        medians["theirs"],
        medians["ours"],
        medians["floor"],
        medians.get("seeded"),
        *peaks,
    )


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed + 1)


def _random_state():
    return random.getstate(), np.random.get_state()


def _check_equal(theirs, ours, name: str) -> None:
    """Compare nested results, and the random states behind them."""
    pairs = [(theirs, ours)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, (list, tuple)):
            if len(a) != len(b):
                raise AssertionError(f"{name}: GluonCV gives {len(a)} parts, we give {len(b)}")
            pairs.extend(zip(a, b))
        else:
            a, b = (x.asnumpy() if isinstance(x, mx.nd.NDArray) else np.asarray(x) for x in (a, b))
            if not np.array_equal(a, b):
                raise AssertionError(f"{name}: GluonCV and rpn_target differ")


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


def used_memory() -> float | None:
    """Return this process's resident memory in MB without what was freed, or None if unknown."""
    mx.nd.waitall()
    gc.collect()
    mx.nd.waitall()  # MXNet frees in its own time
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # not glibc
        return None
    return resident_memory()


def peak_memory(function: Callable) -> float | None:
    """Return how far a call raises the resident memory at most, its outputs included, in MB.

    Runs in a forked process of its own, since memory once freed need not be returned.
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


def _report_peak(function: Callable, sender) -> None:
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
    sender.send(max(0.0, resident_memory("VmHWM") - before))
    del result
