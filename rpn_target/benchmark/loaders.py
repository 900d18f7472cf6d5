"""Whole DataLoaders side by side: images per second, and how the main process grows."""

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
    """Images per second, and MB of growth of the main process per 100 batches."""

    case: str
    boxes: int
    workers: int
    theirs: float
    ours: float
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
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    growth: dict[str, list[float | None]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, loader in loaders.items():
            speed, grown = _run(loader)
            speeds[name].append(speed)
            growth[name].append(grown)
    return LoaderMeasurement(
        case.name, count, workers, *(median(speeds[name]) for name in sides),
        *(median(growth[name]) if None not in growth[name] else None for name in sides),
    )  # fmt: skip


def _run(loader) -> tuple[float, float | None]:
    """Go through a loader once; the first batches are not counted, they only start it up."""
    warm_up = max(1, len(loader) // 5)
    for index, batch in enumerate(loader):
        _copy(batch)
        if index + 1 == warm_up:
            start, before = time.perf_counter(), resident_memory()
    images = (len(loader) - warm_up) * BATCH_SIZE
    speed = images / (time.perf_counter() - start)
    after = resident_memory()
    if before is None or after is None:
        return speed, None
    return speed, (after - before) / (len(loader) - warm_up) * 100


def _copy(batch) -> None:
    """Read every array of a batch once, as sending it to a device does."""
    if isinstance(batch, (list, tuple)):
        for part in batch:
            _copy(part)
    else:
        batch.copyto(mx.cpu()).wait_to_read()
