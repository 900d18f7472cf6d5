"""Single steps: how long each side takes, and how long its input and output alone take."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Callable, NamedTuple

import mxnet as mx
import numpy as np
from gluoncv.data import batchify as gluoncv_batchify
from gluoncv.data.transforms.presets.rcnn import FasterRCNNDefaultTrainTransform
from gluoncv.model_zoo.rcnn.rpn import rpn_target as gluoncv_rpn

from ..gluon.batchify import FasterRCNNTrainBatchify
from ..gluon.blocks import RPNTargetGenerator, RPNTargetSampler
from ..gluon.ndarray import as_numpy
from ..gluon.transforms import FasterRCNNTrainTransform
from .cases import Case, make_boxes, make_sample
from .measure import arrays_of, check_equal, peak_memory, random_state, seed_all

__all__ = ["STEPS", "Step", "StepMeasurement", "make_steps", "measure_step"]

VARIANTS = 4  # different inputs per step, used in turns
SEED = 0


class Step(NamedTuple):
    """One line of the table.

    ``theirs`` and ``ours`` take the number of a variant and return nested arrays to compare;
    ``seeded`` is ours drawing from a Generator, where the step draws at all.
    """

    name: str
    case: str
    boxes: int
    theirs: Callable
    ours: Callable
    seeded: Callable | None
    inputs: list
    """Nested arrays that each variant reads."""
    output_shapes: tuple
    """Shapes of the float32 arrays that it writes."""
    output_is_recycled: bool = False
    """Whether these are in memory that was used before, not in new memory."""


class StepMeasurement(NamedTuple):
    """What one step took. Times in milliseconds, memory in megabytes."""

    step: str
    case: str
    boxes: int
    theirs: float
    ours: float
    seeded: float | None
    input_pass: float
    """Reading every byte of the input once."""
    output_fill: float
    """Writing every byte of the output once."""
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

    @property
    def distance(self) -> float:
        """How many times longer this package takes than passing over input and output once."""
        return self.ours / (self.input_pass + self.output_fill)


def measure_step(step: Step, repeats: int, memory: bool = True) -> StepMeasurement:
    """Measure one step.

    Every repeat runs both sides from the same random state and on the same data, in turns, with
    the order swapped from one to the next.

    Raises
    ------
    ResultsDiffer
        If the two sides differ in their results, or in the random state they leave.
    """
    sides = {"theirs": step.theirs, "ours": step.ours}
    if step.seeded:
        sides["seeded"] = step.seeded
    fill = _fill_of(step)
    sides["input"] = lambda variant: _pass_over(step.inputs[variant])
    sides["output"] = fill
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(-1, repeats):  # the first round only warms up
        variant = repeat % VARIANTS
        outcomes = {}
        for name in sorted(sides, reverse=bool(repeat % 2)):
            seed_all(repeat + 1)
            start = time.perf_counter()
            result = sides[name](variant)
            elapsed = time.perf_counter() - start
            if repeat >= 0:
                times[name].append(elapsed * 1000)
            outcomes[name] = result, random_state()
            del result
        check_equal(outcomes["theirs"], outcomes["ours"], f"{step.name}, {step.case}")
    peaks = (peak_memory(step.theirs), peak_memory(step.ours)) if memory else (None, None)
    medians = {name: median(values) for name, values in times.items()}
    return StepMeasurement(
        step.name, step.case, step.boxes, medians["theirs"], medians["ours"],
        medians.get("seeded"), medians["input"], medians["output"], *peaks,
    )  # fmt: skip


def _pass_over(inputs: Any) -> None:
    """Read every byte of some arrays once."""
    for array in arrays_of(inputs):
        data = np.ascontiguousarray(as_numpy(array)).reshape(-1).view(np.uint8)
        whole = len(data) // 8 * 8
        np.bitwise_or.reduce(data[:whole].view(np.uint64))


def _fill_of(step: Step) -> Callable:
    """Return a function that writes every byte of a step's output once."""
    recycled = [np.zeros(shape, np.float32) for shape in step.output_shapes]

    def fill(variant: int) -> Any:
        if step.output_is_recycled:
            for array in recycled:
                array.fill(variant)
            return None
        return [np.full(shape, variant, np.float32) for shape in step.output_shapes]

    return fill


def make_steps(case: Case, count: int) -> list[Step]:
    """Make the steps for a case with ``count`` boxes per image."""
    return [make(case, count) for make in STEPS]


def _boxes(case: Case, count: int) -> list[np.ndarray]:
    return [make_boxes(case.height, case.width, count, seed) for seed in range(VARIANTS)]


def _sampler(case: Case, count: int) -> Step:
    lattice = case.lattice
    is_valid = np.zeros((len(lattice), 1), bool)
    valid = lattice.valid(case.width, case.height)
    is_valid[valid.select(np.arange(len(valid)))] = True
    ious = [
        np.where(is_valid, mx.nd.contrib.box_iou(case.anchors, mx.nd.array(boxes)).asnumpy(), -1)
        for boxes in _boxes(case, count)
    ]
    arguments = (256, 0.7, 0.3, 0.5)
    theirs = gluoncv_rpn.RPNTargetSampler(*arguments)
    ours = RPNTargetSampler(*arguments)
    seeded = RPNTargetSampler(*arguments, rng=SEED)
    size = len(lattice)
    return Step(
        "sampler", case.name, count,
        theirs=lambda variant: theirs(ious[variant]),
        ours=lambda variant: ours(ious[variant]),
        seeded=lambda variant: seeded(ious[variant]),
        inputs=ious,
        output_shapes=((size,), (2 * size,)),  # float32, and int64
    )  # fmt: skip


def _plain_generator(case: Case, count: int) -> Step:
    return _generator("generator, plain", case, count, case.anchors, [case.anchors])


def _lattice_generator(case: Case, count: int) -> Step:
    return _generator("generator, lattice", case, count, case.lattice, [])


def _generator(name: str, case: Case, count: int, anchors: Any, anchor_arrays: list) -> Step:
    boxes = [mx.nd.array(array) for array in _boxes(case, count)]
    theirs = gluoncv_rpn.RPNTargetGenerator()
    ours, seeded = RPNTargetGenerator(), RPNTargetGenerator(rng=SEED)
    size = case.width, case.height
    return Step(
        name, case.name, count,
        theirs=lambda variant: theirs(boxes[variant], case.anchors, *size),
        ours=lambda variant: ours(boxes[variant], anchors, *size),
        seeded=lambda variant: seeded(boxes[variant], anchors, *size),
        inputs=[[array, *anchor_arrays] for array in boxes],
        output_shapes=case.image_shapes[1:],
    )  # fmt: skip


def _transform(case: Case, count: int) -> Step:
    samples = [make_sample(case, count, seed) for seed in range(VARIANTS)]
    theirs = FasterRCNNDefaultTrainTransform(**case.transform_arguments)
    ours = FasterRCNNTrainTransform(**case.transform_arguments)
    seeded = FasterRCNNTrainTransform(**case.transform_arguments, rng=SEED)

    def waited(transform: Callable) -> Callable:
        def run(variant: int) -> tuple:
            sample = transform(*samples[variant])
            sample[0].wait_to_read()
            return sample

        return run

    return Step(
        "transform", case.name, count, waited(theirs), waited(ours), waited(seeded),
        inputs=samples, output_shapes=case.image_shapes,
    )  # fmt: skip


def _batchify(case: Case, count: int) -> Step:
    transform = FasterRCNNTrainTransform(**case.transform_arguments)
    batches = [[transform(*make_sample(case, count, seed))] for seed in range(VARIANTS)]
    for batch in batches:
        batch[0][0].wait_to_read()
    theirs = gluoncv_batchify.FasterRCNNTrainBatchify(case.net)
    ours = FasterRCNNTrainBatchify(case.net)

    def waited(batchify: Callable) -> Callable:
        def run(variant: int) -> tuple:
            batch = batchify(batches[variant])
            mx.nd.waitall()
            return batch

        return run

    return Step(
        "batchify, 1 image", case.name, count, waited(theirs), waited(ours), None,
        inputs=batches, output_shapes=case.image_shapes, output_is_recycled=True,
    )  # fmt: skip


STEPS = (_sampler, _plain_generator, _lattice_generator, _transform, _batchify)
