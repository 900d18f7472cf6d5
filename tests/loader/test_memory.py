"""What the steps need, and that nothing is left behind."""

import gc
import os
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from functools import lru_cache
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_does_not_grow_the_main_process(fpn_net, num_workers):
    transform = rpn_target.FasterRCNNTrainTransform(200, 300, fpn_net, multi_stage=True)
    image = mx.nd.array(np.random.RandomState(0).randint(0, 256, (120, 160, 3)), dtype=np.uint8)
    label = np.array([[60, 50, 150, 110, 0, 0]], np.float32)
    dataset = SimpleDataset([(image, label)] * 700).transform(transform)
    batchify = rpn_target.FasterRCNNTrainBatchify(fpn_net)
    loader = DataLoader(dataset, 2, batchify_fn=batchify, num_workers=num_workers)
    for index, _ in enumerate(loader):
        if index + 1 == 50:
            gc.collect()
            before = resident_megabytes()
    assert index + 1 == 350
    assert resident_megabytes() - before < 5


DEV_SHM = {"64 MB": "size=64m", "read-only": "size=64m,ro"}


@lru_cache(maxsize=None)
def no_namespaces():
    """Return why this system does not let us have a /dev/shm of our own, or None."""
    if not shutil.which("unshare"):
        return "needs the program unshare"
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /dev/shm"]
    done = subprocess.run(command, capture_output=True)
    return f"needs to mount: {done.stderr.decode()}" if done.returncode else None


def run_with_dev_shm(kind, source):
    """Run a script with a /dev/shm of its own; return what it prints."""
    if no_namespaces():
        pytest.skip(no_namespaces())
    mount = f'mount -t tmpfs -o {DEV_SHM[kind]} tmpfs /dev/shm && exec "$@"'
    tests = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-W", "ignore", "-c",
         textwrap.dedent(source)],
        capture_output=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [tests, tests.parent]))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEV_SHM)
def test_loader_where_dev_shm_is_small(kind):
    """Batches of 82 MB. MXNet's own worker pools need to write there, for their locks alone."""
    printed = run_with_dev_shm(
        kind,
        """
        import helpers
        import numpy as np
        from gluoncv.model_zoo import get_model
        from mxnet.gluon.data import DataLoader, SimpleDataset
        import rpn_target

        net = get_model("faster_rcnn_fpn_resnet50_v1b_coco", pretrained_base=False)
        transform = rpn_target.FasterRCNNTrainTransform(800, 1333, net, multi_stage=True)
        batchify = rpn_target.FasterRCNNTrainBatchify(net)
        samples = [helpers.make_sample(480, 720, seed=k) for k in range(12)]
        dataset = SimpleDataset(samples).transform(transform)
        for workers in (0, dict(thread_pool=True), dict()):
            options = dict(num_workers=2, **workers) if workers != 0 else {}
            try:
                loader = DataLoader(dataset, 4, batchify_fn=batchify, **options)
            except OSError as error:
                print(error.strerror)
                continue
            for images, *_ in loader:
                assert images.shape == (4, 3, 800, 1200)
                assert 0 < abs(images[3]).sum().asscalar() < np.inf
            print("fine")
        """,
    )
    pools = "Read-only file system" if kind == "read-only" else "fine"
    assert printed.splitlines() == ["fine", pools, pools]


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEV_SHM)
def test_too_little_space_in_dev_shm(kind):
    """An error where the memory would be MXNet's, which alone ends in a bus error."""
    printed = run_with_dev_shm(
        kind,
        """
        import helpers
        from rpn_target.gluon.ndarray import shared_empty

        try:
            kept = [shared_empty((1000, 1000)) for _ in range(20)]
        except OSError as error:
            print(error)
        """,
    )
    assert printed.startswith("/dev/shm has no space for 4000000 bytes")
    assert "--shm-size" in printed


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
