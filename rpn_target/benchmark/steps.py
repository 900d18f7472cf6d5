"""The steps to measure: for each, what GluonCV runs and what this package runs."""

from __future__ import annotations

from typing import Callable, NamedTuple

import mxnet as mx
import numpy as np
from gluoncv.data import batchify as gluoncv_batchify
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from gluoncv.model_zoo.rcnn.rpn import rpn_target as gluoncv_rpn

from ..gluon.batchify import FasterRCNNTrainBatchify
from ..gluon.blocks import RPNTargetGenerator, RPNTargetSampler
from ..gluon.ndarray import SHARED, empty
from ..gluon.transforms import FasterRCNNTrainTransform
from .cases import Case, make_boxes, make_sample
from .limits import batch_shapes

__all__ = ["Step", "make_steps"]

VARIANTS = 4  # different inputs per step, used in turns
SEED = 0


class Step(NamedTuple):
    """One line of the table.

    All functions take the number of the variant. ``theirs`` and ``ours`` return nested arrays
    to compare; ``seeded`` is ours drawing from a Generator, where the step draws at all;
    ``floor`` writes outputs of the same size once and does nothing else.
    """

    name: str
    case: str
    boxes: int
    theirs: Callable
    ours: Callable
    floor: Callable
    seeded: Callable | None


def make_steps(case: Case, count: int) -> list[Step]:
    """Make the steps for a case with ``count`` boxes per image."""
    makers = (_sampler, _generator, _lattice_generator, _transform, _batchify)
    named = (maker(case, count) for maker in makers)
    return [Step(name, case.name, count, *functions) for name, functions in named]


def _boxes(case: Case, count: int) -> list[np.ndarray]:
    return [make_boxes(case.height, case.width, count, seed) for seed in range(VARIANTS)]


def _sampler(case, count):
    lattice = case.lattice
    valid = np.zeros((len(lattice), 1), bool)
    inside = lattice.inside(case.width, case.height)
    valid[inside.select(np.arange(len(inside)))] = True
    ious = [
        np.where(valid, mx.nd.contrib.box_iou(case.anchors, mx.nd.array(boxes)).asnumpy(), -1)
        for boxes in _boxes(case, count)
    ]
    arguments = (256, 0.7, 0.3, 0.5)
    theirs = gluoncv_rpn.RPNTargetSampler(*arguments)
    ours = RPNTargetSampler(*arguments)
    seeded = RPNTargetSampler(*arguments, rng=SEED)
    size = len(lattice)
    return "sampler", (
        lambda variant: theirs(ious[variant]),
        lambda variant: ours(ious[variant]),
        lambda variant: (np.full(size, 0, np.float32), np.full(size, 0, np.int64)),
        lambda variant: seeded(ious[variant]),
    )


def _fill_targets(size: int) -> None:
    np.full(size, -1, np.float32)
    np.full((size, 4), 0, np.float32)
    np.full((size, 4), 0, np.float32)


def _generator(case, count):
    return "generator, plain", _generators(case, count, case.anchors)


def _lattice_generator(case, count):
    return "generator, lattice", _generators(case, count, case.lattice)


def _generators(case, count, anchors):
    boxes = [mx.nd.array(array) for array in _boxes(case, count)]
    theirs = gluoncv_rpn.RPNTargetGenerator()
    ours, seeded = RPNTargetGenerator(), RPNTargetGenerator(rng=SEED)
    size = case.width, case.height
    return (
        lambda variant: theirs(boxes[variant], case.anchors, *size),
        lambda variant: ours(boxes[variant], anchors, *size),
        lambda variant: _fill_targets(len(case.lattice)),
        lambda variant: seeded(boxes[variant], anchors, *size),
    )


def _samples(case, count):
    return [make_sample(case, count, seed) for seed in range(VARIANTS)]


def _transform(case, count):
    samples = _samples(case, count)
    theirs = FasterRCNNDefaultTrainTransform(**case.transform_arguments)
    ours = FasterRCNNTrainTransform(**case.transform_arguments)
    seeded = FasterRCNNTrainTransform(**case.transform_arguments, rng=SEED)

    def waited(transform):
        def run(variant):
            sample = transform(*samples[variant])
            sample[0].wait_to_read()
            return sample

        return run

    def floor(variant):
        np.full((3, case.height, case.width), 0, np.float32)
        _fill_targets(len(case.lattice))

    return "transform", (waited(theirs), waited(ours), floor, waited(seeded))


def _batchify(case, count):
    transform = FasterRCNNTrainTransform(**case.transform_arguments)
    batches = [[transform(*sample)] for sample in _samples(case, count)]
    for batch in batches:
        batch[0][0].wait_to_read()
    theirs = gluoncv_batchify.FasterRCNNTrainBatchify(case.net)
    ours = FasterRCNNTrainBatchify(case.net)

    def waited(batchify):
        def run(variant):
            batch = batchify(batches[variant])
            mx.nd.waitall()
            return batch

        return run

    def floor(variant):
        for shape in batch_shapes(case):
            empty(shape, ctx=SHARED)[1].fill(1)

    return "batchify, 1 image", (waited(theirs), waited(ours), floor, None)
