"""What the steps need, and that nothing is left behind."""

import gc
import os
import tracemalloc

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon.data import DataLoader, SimpleDataset

import rpn_target
from rpn_target.benchmark.cases import make_boxes
from rpn_target.core.lattice import AnchorLattice, Level, base_boxes
from rpn_target.gluon.ndarray import empty, view

HEIGHT, WIDTH = 800, 1216
MEGABYTE = 2**20


def pyramid():
    strides = (4, 8, 16, 32, 64)
    levels = [Level(base_boxes(s, s, (0.5, 1, 2), (8,)), s) for s in strides]
    return AnchorLattice(levels, [(-(-HEIGHT // s), -(-WIDTH // s)) for s in strides])


def peak_of(function):
    gc.collect()
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["lattice", "array"])
@pytest.mark.parametrize("count", [0, 100])
def test_generator_needs_little_above_its_outputs(kind, count):
    lattice = pyramid()
    corners = lattice.corners(np.arange(len(lattice)))
    anchors = lattice if kind == "lattice" else mx.nd.array(corners)
    generator = rpn_target.RPNTargetGenerator()
    boxes = make_boxes(HEIGHT, WIDTH, count, seed=0)
    targets, peak = peak_of(lambda: generator(boxes, anchors, WIDTH, HEIGHT))
    outputs = sum(array.nbytes for array in targets)
    assert outputs > 8 * MEGABYTE
    assert peak - outputs < 15 * MEGABYTE


@pytest.mark.parametrize("kind", ["lattice", "array"])
@pytest.mark.parametrize("rule", ["gluoncv", "keep"])
def test_generator_does_not_grow_with_the_boxes(kind, rule):
    lattice = pyramid()
    anchors = lattice if kind == "lattice" else lattice.corners(np.arange(len(lattice)))
    generator = rpn_target.RPNTargetGenerator(low_quality_matches=rule)
    boxes = make_boxes(HEIGHT, WIDTH, 2000, seed=0)
    targets, peak = peak_of(lambda: generator(boxes, anchors, WIDTH, HEIGHT))
    assert peak - sum(array.nbytes for array in targets) < 15 * MEGABYTE


@pytest.mark.parametrize("thresholds", [(0.7, 0.3), (0.7, 0.01), (0.7, 0)])
@pytest.mark.parametrize("rule", ["gluoncv", "keep", "drop"])
def test_sampler_makes_no_matrix(thresholds, rule):
    ious = np.random.RandomState(0).rand(100000, 100).astype(np.float32) * 0.8
    sampler = rpn_target.RPNTargetSampler(256, *thresholds, 0.5, low_quality_matches=rule)
    _, peak = peak_of(lambda: sampler(ious))
    assert peak < ious.nbytes / 4


def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_does_not_grow_the_main_process(fpn_net, num_workers):
    transform = rpn_target.FasterRCNNTrainTransform(200, 300, fpn_net, multi_stage=True)
    image = mx.nd.array(np.random.RandomState(0).randint(0, 256, (120, 160, 3)), dtype=np.uint8)
    label = np.array([[10, 10, 60, 80, 0, 0]], np.float32)
    dataset = SimpleDataset([(image, label)] * 700).transform(transform)
    batchify = rpn_target.FasterRCNNTrainBatchify(fpn_net)
    loader = DataLoader(dataset, 2, batchify_fn=batchify, num_workers=num_workers)
    for index, _ in enumerate(loader):
        if index + 1 == 50:
            gc.collect()
            before = resident_megabytes()
    assert index + 1 == 350
    assert resident_megabytes() - before < 5


def test_view_keeps_the_memory_alive():
    out = empty((1000, 1000))[1]
    out.fill(7)
    others = [empty((1000, 1000)) for _ in range(3)]
    for _, other in others:
        other.fill(8)
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int32", "int64"])
def test_view_is_the_array(dtype):
    array = mx.nd.arange(24, dtype=dtype).reshape((2, 3, 4)) + 1
    np.testing.assert_array_equal(view(array), array.asnumpy())
    assert view(array).dtype == array.dtype
    view(array)[1, 2, 3] = 99
    assert array[1, 2, 3].asscalar() == 99
