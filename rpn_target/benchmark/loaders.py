"""Whole DataLoaders side by side: images per second, and what they cost the main process."""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import mxnet as mx
from gluoncv.data import batchify as gluoncv_batchify
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from mxnet.gluon.data import DataLoader, SimpleDataset

from ..gluon.batchify import FasterRCNNTrainBatchify
from ..gluon.transforms import FasterRCNNTrainTransform
from .cases import Case, make_sample
from .measure import used_memory

__all__ = ["LoaderMeasurement", "measure_loader"]

BATCH_SIZE = 2
IMAGES = 8  # different ones, read over and over
SETTLED = 4  # batches until memory is level, where nothing leaks
WARM_UP = 9  # batches not timed: what workers made while memory was looked at is used up by then


class LoaderMeasurement(NamedTuple):
    """Images per second, and what they cost the main process.

    That is milliseconds of its processors' time per image, which without workers is the whole
    cost of an image, and MB that it grows per 100 batches.
    """

    case: str
    boxes: int
    workers: int
    theirs: float
    ours: float
    their_cost: float
    our_cost: float
    their_growth: float | None
    our_growth: float | None

    @property
    def ratio(self) -> float:
        """How many times faster this package is."""
        return self.ours / self.theirs


def measure_loader(case: Case, count: int, workers: int, batches: int, rounds: int = 1):
    """Measure both loaders, in turns, over ``batches`` (above `WARM_UP`) of two images each."""
    samples = [make_sample(case, count, seed) for seed in range(IMAGES)]
    dataset = SimpleDataset([samples[i % IMAGES] for i in range(batches * BATCH_SIZE)])
    sides = {
        "theirs": (FasterRCNNDefaultTrainTransform, gluoncv_batchify.FasterRCNNTrainBatchify),
        "ours": (FasterRCNNTrainTransform, FasterRCNNTrainBatchify),
    }
    loaders = {
        name: DataLoader(
            dataset.transform(transform(**case.transform_arguments)),
            BATCH_SIZE,
            batchify_fn=batchify(case.net),
            num_workers=workers,
        )
        for name, (transform, batchify) in sides.items()
    }
    runs: dict[str, list] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, loader in loaders.items():
            runs[name].append(_run(loader))
    speeds, costs, growths = zip(*(map(_median, zip(*runs[name])) for name in sides))
    return LoaderMeasurement(case.name, count, workers, *speeds, *costs, *growths)


def _median(figures) -> float | None:
    return None if None in figures else median(figures)


def _run(loader) -> tuple[float, float, float | None]:
    """Go through a loader once; return speed, cost and growth as `LoaderMeasurement` has them.

    Memory is compared from batch `SETTLED` on, time from batch `WARM_UP` on. Both ends of memory
    are taken inside the loop, since the loader holds on to the batch it gave last.
    """
    for number, batch in enumerate(loader, start=1):
        _copy(batch)
        del batch
        if number == SETTLED:
            before = used_memory()
        if number == WARM_UP:
            start, start_cost = time.perf_counter(), time.process_time()
        if number == len(loader):
            elapsed, cost = time.perf_counter() - start, time.process_time() - start_cost
            after = used_memory()
    images = (number - WARM_UP) * BATCH_SIZE
    growth = None
    if before is not None and after is not None:
        growth = (after - before) / (number - SETTLED) * 100
    return images / elapsed, cost / images * 1000, growth


def _copy(batch) -> None:
    """Read every array of a batch once, as sending it to a device does."""
    if isinstance(batch, (list, tuple)):
        for part in batch:
            _copy(part)
    else:
        batch.copyto(mx.cpu()).wait_to_read()
