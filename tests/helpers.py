"""What several test modules share: judging both sides, anchors, and makers of boxes."""

import contextlib
import gc
import importlib.util
import multiprocessing
import random
import sys
import tracemalloc
import warnings
from functools import lru_cache
from typing import NamedTuple

import rpn_target  # noqa: F401  before MXNet and GluonCV, for the sake of recent NumPy

# isort: split
import mxnet as mx
import naive
import numpy as np
import pytest
from gluoncv.model_zoo.rcnn.rpn.anchor import RPNAnchorGenerator

from rpn_target.core.anchor_array import AnchorArray
from rpn_target.core.lattice import AnchorLattice, Level, base_boxes

# --- platforms ----------------------------------------------------------------------------------

if not importlib.util.find_spec("gluoncv.auto"):
    _no_auto = "gluoncv.auto came with GluonCV 0.9"
elif sys.version_info >= (3, 10):
    _no_auto = "autocfg, which gluoncv.auto is made with, fails on Python 3.10 and later"
else:
    _no_auto = None
needs_auto = pytest.mark.skipif(_no_auto is not None, reason=str(_no_auto))

# --- judging ------------------------------------------------------------------------------------


@contextlib.contextmanager
def strict():
    """Make a RuntimeWarning of numpy an error: our code must not cause any."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with np.errstate(over="warn", divide="warn", invalid="warn", under="ignore"):
            yield


def seed_all(seed):
    """Seed numpy's global generator and Python's."""
    np.random.seed(seed)
    random.seed(seed)


def random_states():
    """Return the state of both global generators, comparable with ``==``."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return name, keys.tolist(), position, has_gauss, gauss, random.getstate()


def to_numpy(array):
    """Return an NDArray as numpy, anything else as it is."""
    return array.asnumpy() if isinstance(array, mx.nd.NDArray) else array


def assert_same(actual, expected):
    """Assert that two nested structures of arrays are equal, shapes included."""
    if isinstance(expected, (list, tuple)):
        assert isinstance(actual, (list, tuple))
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected):
            assert_same(one, other)
        return
    assert isinstance(actual, mx.nd.NDArray) == isinstance(expected, mx.nd.NDArray)
    actual, expected = to_numpy(actual), to_numpy(expected)
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_array_equal(actual, expected)


def run_both(ours, theirs, seed=0):
    """Call both from the same random state; assert equal results and states; return ours."""
    seed_all(seed)
    with strict():
        actual = ours()
    state = random_states()
    seed_all(seed)
    with np.errstate(all="ignore"):
        expected = theirs()
    assert_same(actual, expected)
    assert state == random_states()
    return actual


class _Peak:
    bytes = 0


@contextlib.contextmanager
def peak_memory():
    """Yield an object whose ``bytes`` says, afterwards, how much memory was taken at most."""
    peak = _Peak()
    tracemalloc.start()
    try:
        yield peak
        peak.bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- anchors ------------------------------------------------------------------------------------


class Pyramid(NamedTuple):
    """The anchors of a network, by (stride, base_size, ratios, scales) of each level."""

    levels: tuple

    def shapes(self, height, width):
        """Return the size of each feature map, rounded up as convolutions with padding do."""
        return tuple((-(-height // level[0]), -(-width // level[0])) for level in self.levels)

    def lattice(self, height, width):
        """Return the anchors of an image as an AnchorLattice."""
        levels = [
            Level(base_boxes(stride, base_size, ratios, scales), stride)
            for stride, base_size, ratios, scales in self.levels
        ]
        return AnchorLattice(levels, self.shapes(height, width))

    def array(self, height, width):
        """Return the same anchors (N, 4) from GluonCV, read-only."""
        return gluoncv_anchors(self.levels, self.shapes(height, width))


@lru_cache(maxsize=16)
def gluoncv_anchors(levels, shapes):
    parts = []
    for (stride, base_size, ratios, scales), shape in zip(levels, shapes):
        # The method alone: every generator leaves its anchors behind in MXNet's registry.
        anchors = RPNAnchorGenerator._generate_anchors(
            None, stride, base_size, ratios, scales, shape
        )
        parts.append(anchors.reshape(-1, 4))
    anchors = np.concatenate(parts)
    anchors.setflags(write=False)
    return anchors


CUBE_ROOT = 2 ** (1 / 3)
RATIOS = (0.5, 1, 2)
PYRAMIDS = {
    "c4": Pyramid(((16, 16, RATIOS, (2, 4, 8, 16, 32)),)),
    "fpn": Pyramid(tuple((4 * 2**k, 16, RATIOS, (2 * 2**k,)) for k in range(5))),
    # Corners that float32 cannot hold, levels of different depth.
    "odd": Pyramid(
        (
            (8, 10, (0.33, 1, 3), (1, CUBE_ROOT, CUBE_ROOT**2)),
            (20, 16, (0.33, 0.7), (CUBE_ROOT,)),
            (33, 33, (1,), (1.7, 2.9)),
        )
    ),
    "small": Pyramid(((16, 8, RATIOS, (1, 3)), (32, 8, (1,), (4,)))),
}


def both_forms(pyramid, height, width):
    """Return the anchors as an array, and in both forms."""
    array = PYRAMIDS[pyramid].array(height, width)
    return array, (PYRAMIDS[pyramid].lattice(height, width), AnchorArray(array))


def valid_numbers(array, height, width, border=0):
    """Return the numbers of the valid anchors, from the definition."""
    keep = [naive.is_valid(anchor, width, height, border) for anchor in array]
    return np.flatnonzero(keep)


# --- boxes --------------------------------------------------------------------------------------


def _uniform(rng, count, height, width, anchors):
    corners = rng.uniform(0, 1, (count, 2, 2)) * (width, height)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _whole(rng, count, height, width, anchors):
    return np.floor(_uniform(rng, count, height + 1, width + 1, anchors))


def _tiny(rng, count, height, width, anchors):
    corner = rng.uniform(0, 1, (count, 2)) * (width, height)
    return np.concatenate([corner, corner + rng.uniform(0.01, 5, (count, 2))], axis=1)


def _huge(rng, count, height, width, anchors):
    inset = rng.uniform(-0.3, 0.2, (count, 4)) * (width, height, width, height)
    return np.array([0, 0, width, height]) + inset * (1, 1, -1, -1)


def _border(rng, count, height, width, anchors):
    boxes = _uniform(rng, count, height, width, anchors)
    low = rng.randint(0, 2, (count, 2)).astype(bool)
    boxes[:, :2] = np.where(low, 0, boxes[:, :2])
    return np.where(np.c_[low, rng.randint(0, 2, (count, 2))], boxes, np.maximum(boxes, 0)).clip(
        0, (width, height, width, height)
    )


def _flat(rng, count, height, width, anchors):
    boxes = _uniform(rng, count, height, width, anchors)
    axis = rng.randint(0, 3, count)  # no width, no height, neither
    boxes[axis != 1, 2] = boxes[axis != 1, 0]
    boxes[axis != 0, 3] = boxes[axis != 0, 1]
    return boxes


def _outside(rng, count, height, width, anchors):
    boxes = _uniform(rng, count, height, width, anchors)
    away = rng.choice([-2, -1, 1, 2], (count, 1)) * (width, height)
    return boxes + np.tile(away, 2)


def _anchors(rng, count, height, width, anchors):
    return anchors[rng.randint(0, len(anchors), count)]


def _between(rng, count, height, width, anchors):
    shift = rng.choice([-8, -4, -2, 0, 2, 4, 8], (count, 2))
    return _anchors(rng, count, height, width, anchors) + np.tile(shift, 2)


def _duplicate(rng, count, height, width, anchors):
    return _mixed(rng, 3, height, width, anchors)[rng.randint(0, 3, count)]


def _crowd(rng, count, height, width, anchors):
    return _anchors(rng, 1, height, width, anchors) + np.tile(rng.uniform(-3, 3, (count, 2)), 2)


def _mixed(rng, count, height, width, anchors):
    makers = (_uniform, _whole, _tiny, _huge, _border, _flat, _outside, _anchors, _between)
    kinds = rng.randint(0, len(makers), count)
    return np.concatenate([makers[kind](rng, 1, height, width, anchors) for kind in kinds])


MAKERS = {
    "uniform": _uniform,
    "whole": _whole,
    "tiny": _tiny,
    "huge": _huge,
    "border": _border,
    "flat": _flat,
    "outside": _outside,
    "anchors": _anchors,
    "between": _between,
    "duplicate": _duplicate,
    "crowd": _crowd,
    "mixed": _mixed,
}


def make_boxes(kind, count, height, width, anchors, seed=0):
    """Return seeded ground-truth boxes (count, 4), float32, of a kind named in `MAKERS`."""
    rng = np.random.RandomState(seed)
    boxes = MAKERS[kind](rng, count, height, width, np.asarray(anchors, np.float64))
    boxes = boxes.astype(np.float32)
    assert boxes.shape == (count, 4) and (boxes[:, 2:] >= boxes[:, :2]).all()
    return boxes


def make_sample(height, width, count=5, seed=0, columns=6, dtype="uint8"):
    """Return an image and its label of boxes with further columns."""
    rng = np.random.RandomState(seed)
    image = mx.nd.array(rng.randint(0, 256, (height, width, 3)), dtype=dtype)
    label = np.zeros((count, columns))
    corners = rng.uniform(0, 1, (count, 2, 2)) * (width, height)
    label[:, :2], label[:, 2:4] = corners.min(axis=1), corners.max(axis=1)
    label[:, 4:] = rng.randint(0, 20, (count, columns - 4))
    return image, label


class Cycle:
    """Something only the garbage collector frees."""

    def __init__(self, value):
        self.value = value
        self.itself = self


def collect_in_forks(make, processes, collect=gc.collect):
    """Make something and leave it in a reference cycle, to be collected by all.

    First forked processes call ``collect``, one after the other, then this one collects.
    """
    gc.disable()
    try:
        Cycle(make())
        for _ in range(processes):
            process = multiprocessing.get_context("fork").Process(target=collect)
            process.start()
            process.join(60)
            assert process.exitcode == 0
        gc.collect()
    finally:
        gc.enable()
    mx.nd.waitall()
