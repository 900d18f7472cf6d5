"""Whole DataLoaders side by side: images per second, and what they cost the main process."""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import mxnet as mx
from gluoncv.data import batchify as gluoncv_batchify
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from mxnet.gluon.data import DataLoader, SimpleDataset

from ..batchify import FasterRCNNTrainBatchify
from ..transform import FasterRCNNTrainTransform
from .cases import Case, make_sample
from .measure import resident_memory

__all__ = ["LoaderMeasurement", "measure_loader"]

BATCH_SIZE = 2
IMAGES = 8  # different ones, read over and over


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
    """Measure both loaders, in turns, over ``batches`` batches of two images each."""
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

    The first batches are not counted, they only start it up.
    """
    warm_up = max(1, len(loader) // 5)
    for index, batch in enumerate(loader):
        _copy(batch)
        if index + 1 == warm_up:
            start, start_cost = time.perf_counter(), time.process_time()
            before = resident_memory()
    batches = len(loader) - warm_up
    speed = batches * BATCH_SIZE / (time.perf_counter() - start)
    cost = (time.process_time() - start_cost) / (batches * BATCH_SIZE) * 1000
    after = resident_memory()
    growth = None if before is None or after is None else (after - before) / batches * 100
    return speed, cost, growth


def _copy(batch) -> None:
    """Read every array of a batch once, as sending it to a device does."""
    if isinstance(batch, (list, tuple)):
        for part in batch:
            _copy(part)
    else:
        batch.copyto(mx.cpu()).wait_to_read()
