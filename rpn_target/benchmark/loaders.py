"""Whole DataLoaders side by side, and the hand-over of batches alone.

A loader is read as a training script does: every array of a batch goes through
``as_in_context(mx.cpu())``. Then it is either used in place, or read once into memory that exists,
as a copy to a GPU reads it.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any, Iterable, Iterator, NamedTuple

import mxnet as mx
import numpy as np
from mxnet.gluon.data import DataLoader

from ..gluon.ndarray import SHARED, empty, view
from ..gluon.recycled_memory import take
from ..loader.seeded_loader import seeded_loader
from .cases import Case, Samples, Transformed, make_sample
from .measure import ResultsDiffer, arrays_of, checksum, resident_memory, used_memory

__all__ = ["HandOver", "LoaderMeasurement", "Reading", "measure_hand_over", "measure_loaders"]

BATCH_SIZE = 2
IMAGES = 8  # different ones, read over and over
SEED = 0
COMPARED = 2  # batches whose bytes are compared
SETTLED = 20  # batches that are not measured; slots of recycled memory are made meanwhile
COPIED = 4  # likewise, of GluonCV's loader, which has none
PRIVATE, SHARED_MEMORY = "RssAnon", "RssShmem"  # figures of Linux's /proc


class Reading(NamedTuple):
    """How fast one loader is, and what it costs the main process."""

    in_place: float
    """Images per second, used in place."""
    read: float
    """Images per second, read once into memory that exists."""
    in_place_cost: float
    """Milliseconds of the main process's processor time per image, used in place."""
    read_cost: float
    """Likewise, read once."""
    growth: float | None
    """MB that the main process grows per 100 batches, without what it shares with workers."""
    shared: float | None
    """MB that the main process shares with workers in the end: batches, and recycled memory."""


class LoaderMeasurement(NamedTuple):
    """Readings of GluonCV's loader and of ours."""

    case: str
    source: str
    """Where images come from: memory, or JPEG files."""
    loader: str
    """What ours is read by: DataLoader or seeded_loader; GluonCV's is a DataLoader."""
    boxes: int
    workers: int
    theirs: Reading
    ours: Reading

    @property
    def ratios(self) -> tuple[float, float]:
        """How many times more images ours gives: in place, and read once."""
        return self.ours.in_place / self.theirs.in_place, self.ours.read / self.theirs.read


class HandOver(NamedTuple):
    """Readings of workers that compute nothing, only write ready-made batches."""

    case: str
    size: float
    """MB of an image with its targets."""
    workers: int
    theirs: Reading
    """In MXNet's shared memory."""
    ours: Reading
    """In this package's."""


def measure_loaders(
    case: Case, count: int, workers: int, batches: tuple[int, int], from_files: bool = False
) -> list[LoaderMeasurement]:
    """Measure GluonCV's loader, ours, and ours seeded, one after the other.

    Parameters
    ----------
    case : Case
    count : int
        Objects in an image.
    workers : int
        Processes of a loader.
    batches : (int, int)
        How many to time of GluonCV's loader and of ours, for each way of reading.
    from_files : bool
        Whether images are JPEG files, decoded for every sample.

    Raises
    ------
    ResultsDiffer
        If the first batches of GluonCV's and of ours are not equal.
    """
    samples = [make_sample(case, count, seed) for seed in range(IMAGES)]
    readings, sums = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("theirs", "ours", "seeded"):
            ours = name != "theirs"
            make_transform, make_batchify = case.classes(ours)
            transform = make_transform(**case.transform_arguments)
            timed, settled = batches[ours], SETTLED if ours else COPIED
            dataset = Samples(
                samples,
                BATCH_SIZE * _length(timed, workers, settled),
                folder if from_files else None,
            )
            options = dict(
                batch_size=BATCH_SIZE, batchify_fn=make_batchify(case.net), num_workers=workers
            )
            if name == "seeded":
                loader = seeded_loader(dataset, transform, SEED, **options)
            else:
                loader = DataLoader(Transformed(dataset, transform), **options)
            readings[name], sums[name] = _read(loader, timed, workers, settled)
            del loader
    where = f"{case.name}, M = {count}, {workers} workers"
    if sums["theirs"] != sums["ours"]:
        raise ResultsDiffer(f"loader, {where}: the batches of GluonCV and rpn_target differ")
    source = "JPEG" if from_files else "memory"
    return [
        LoaderMeasurement(
            case.name, source, loader, count, workers, readings["theirs"], readings[name]
        )
        for name, loader in (("ours", "DataLoader"), ("seeded", "seeded_loader"))
    ]


def measure_hand_over(case: Case, batches: int, workers: int = 2) -> HandOver:
    """Measure how many images one process can take from workers that only write batches."""
    samples = [[np.ones(shape, np.float32) for shape in case.image_shapes]]
    dataset = samples * (BATCH_SIZE * _length(batches, workers))
    readings = []
    for write in (_write_to_shared_memory, _write_to_recycled_memory):
        loader = DataLoader(dataset, BATCH_SIZE, batchify_fn=write, num_workers=workers)
        readings.append(_read(loader, batches, workers)[0])
        del loader
    size = sum(array.nbytes for array in samples[0]) / 1e6
    return HandOver(case.name, size, workers, *readings)


def _write_to_shared_memory(samples: list) -> tuple:
    """Return a batch in memory of MXNet's: a batchify function that computes nothing."""
    batch = []
    for arrays in zip(*samples):
        made, out = empty((len(arrays), *arrays[0].shape), ctx=SHARED)
        for row, array in zip(out, arrays):
            row[:] = array
        batch.append(made)
    return tuple(batch)


def _write_to_recycled_memory(samples: list) -> tuple:
    """Return a batch in this package's memory."""
    columns = list(zip(*samples))
    memory = take([((len(arrays), *arrays[0].shape), arrays[0].dtype) for arrays in columns])
    for out, arrays in zip(memory.arrays, columns):
        for row, array in zip(out, arrays):
            row[:] = array
    return memory.batch(tuple(range(len(columns))))


class _Reader:
    """What a training script does with a batch, for a device whose memory is the computer's."""

    def __init__(self) -> None:
        self._memory: dict[int, np.ndarray] = {}

    def use(self, batch: Any) -> list:
        """Take a batch to the device's context, and wait until it is there."""
        arrays = [array.as_in_context(mx.cpu()) for array in arrays_of(batch)]
        for array in arrays:
            array.wait_to_read()
        return arrays

    def read(self, batch: Any) -> None:
        """Likewise, and read every byte once into memory that exists, as a copy to a GPU does."""
        for number, array in enumerate(self.use(batch)):
            data = view(array)
            memory = self._memory.get(number)
            if memory is None or memory.shape != data.shape:
                memory = self._memory[number] = np.zeros_like(data)
                memory.fill(1)  # its pages are there now
            np.copyto(memory, data)


def _ready(workers: int) -> int:
    """Return how many batches may be ready, and are not timed, when a measurement begins."""
    return 2 * workers + 1  # what a DataLoader has its workers prepare, and one in the making


def _length(timed: int, workers: int, settled: int = SETTLED) -> int:
    """Return how many batches `_read` takes."""
    return settled + 2 * (_ready(workers) + timed) + _ready(workers)


def _read(
    loader: Iterable, timed: int, workers: int, settled: int = SETTLED
) -> tuple[Reading, list]:
    """Go through a loader once; return what it takes, and checksums of its first batches.

    Memory is compared inside the loop, since a loader holds on to the batch it gave last.
    """
    batches, reader = iter(loader), _Reader()
    sums = [checksum(next(batches)) for _ in range(COMPARED)]
    for _ in range(settled - COMPARED):
        reader.read(next(batches))
    used_memory()  # meanwhile workers prepare all they may, for the first time
    in_place, in_place_cost = _time(batches, reader.use, timed, workers)
    before = used_memory(PRIVATE)
    read, read_cost = _time(batches, reader.read, timed, workers)
    after, shared = used_memory(PRIVATE), resident_memory(SHARED_MEMORY)
    for batch in batches:
        reader.use(batch)
    growth = None
    if before is not None and after is not None:
        growth = (after - before) / (_ready(workers) + timed) * 100
    return Reading(in_place, read, in_place_cost, read_cost, growth, shared), sums


def _time(batches: Iterator, use: Any, timed: int, workers: int) -> tuple[float, float]:
    """Return images per second, and milliseconds of processor time per image."""
    for _ in range(_ready(workers)):
        use(next(batches))
    start, start_cost = time.perf_counter(), time.process_time()
    for _ in range(timed):
        use(next(batches))
    elapsed, cost = time.perf_counter() - start, time.process_time() - start_cost
    images = timed * BATCH_SIZE
    return images / elapsed, cost / images * 1000
