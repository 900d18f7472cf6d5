"""What `rpn-target bench` measures with: small cases, and no time is asserted."""

from __future__ import annotations

import sys

import helpers  # noqa: F401  imports rpn_target before MXNet
import mxnet as mx
import numpy as np
import pytest

import rpn_target
from rpn_target.benchmark import steps
from rpn_target.benchmark.cases import Case, Samples, Transformed, make_sample
from rpn_target.benchmark.loaders import Reading, measure_hand_over, measure_loaders
from rpn_target.benchmark.measure import ResultsDiffer, peak_memory

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@pytest.fixture(params=["c4_net", "fpn_net"])
def case(request):
    net = request.getfixturevalue(request.param)
    lattice = rpn_target.AnchorLattice.of_network(net, 100, 150)
    anchors = mx.nd.array(lattice.corners(np.arange(len(lattice))))
    several = request.param == "fpn_net"
    return Case(request.param, "-", several, 100, 150, (80, 120), False, net, lattice, anchors)


@pytest.mark.parametrize("count", [1, 4])
def test_steps(case, count):
    """Each is compared with GluonCV, bit for bit, before its times count."""
    measured = [steps.measure_step(step, 2, memory=False) for step in steps.make_steps(case, count)]
    assert [one.step for one in measured] == [
        "sampler", "generator, plain", "generator, lattice", "transform", "batchify, 1 image"
    ]  # fmt: skip
    for one in measured:
        assert (one.case, one.boxes) == (case.name, count)
        assert one.theirs > 0 and one.ours > 0 and one.input_pass > 0 and one.output_fill > 0
        assert one.ratio == one.theirs / one.ours
        assert one.distance == one.ours / (one.input_pass + one.output_fill)
        assert (one.seeded is None) == (one.step == "batchify, 1 image") == (not one.seeded_ratio)
        assert (one.their_peak, one.our_peak) == (None, None)


def test_a_step_that_differs(case):
    (first, *_) = steps.make_steps(case, 2)
    for ours in (
        lambda variant: first.ours(1 - variant),  # other data
        lambda variant: (first.ours(variant), np.random.rand())[0],  # one draw more
    ):
        with pytest.raises(ResultsDiffer, match=f"sampler, {case.name}"):
            steps.measure_step(first._replace(ours=ours), 2, memory=False)


@pytest.mark.slow
@pytest.mark.parametrize("workers, from_files", [(0, False), (2, False), (2, True)])
def test_loaders(case, workers, from_files):
    measured = measure_loaders(case, 3, workers, (2, 3), from_files)
    assert [one.loader for one in measured] == ["DataLoader", "seeded_loader"]
    for one in measured:
        assert (one.case, one.boxes, one.workers) == (case.name, 3, workers)
        assert one.source == ("JPEG" if from_files else "memory")
        for reading in (one.theirs, one.ours):
            assert all(value > 0 for value in reading[:4])
            assert (reading.growth is None) == (sys.platform != "linux")
        assert one.ratios == (
            one.ours.in_place / one.theirs.in_place, one.ours.read / one.theirs.read
        )  # fmt: skip


@pytest.mark.slow
def test_loaders_of_masks(case):
    pytest.importorskip("pycocotools")
    measured = measure_loaders(case._replace(masks=True), 3, 2, (2, 3))
    assert all(one.ours.read > 0 and one.theirs.read > 0 for one in measured)


@pytest.mark.slow
def test_loaders_that_differ(case, monkeypatch):
    """The bytes of the first batches are compared."""
    sums = iter([[1], [2], [3]])
    reading = Reading(*[1.0] * 6)
    monkeypatch.setattr(
        "rpn_target.benchmark.loaders._read", lambda *arguments: (reading, next(sums))
    )
    with pytest.raises(ResultsDiffer, match=f"loader, {case.name}, M = 3, 0 workers"):
        measure_loaders(case, 3, 0, (2, 3))


@pytest.mark.slow
def test_hand_over(case):
    measured = measure_hand_over(case, 3)
    size = 4 * (3 * 100 * 150 + 9 * len(case.lattice)) / 1e6
    assert (measured.case, measured.workers) == (case.name, 2)
    assert measured.size == pytest.approx(size)
    assert measured.ours.read > 0 and measured.theirs.read > 0


@on_linux
def test_peak_memory():
    """Of a call, with what it returns and without what it frees."""
    assert peak_memory(lambda variant: np.ones(5_000_000)) == pytest.approx(40, abs=8)
    assert peak_memory(lambda variant: float(np.ones(5_000_000).sum())) == pytest.approx(40, abs=8)
    assert peak_memory(lambda variant: None) < 8


def test_samples_from_memory_and_from_files(case, tmp_path):
    samples = [make_sample(case, 2, seed) for seed in range(3)]
    dataset = Samples(samples, 7, str(tmp_path))
    assert len(dataset) == 7 and len(list(tmp_path.iterdir())) == 3
    assert dataset[4][0].shape == Samples(samples, 7)[4][0].shape == (80, 120, 3)
    np.testing.assert_array_equal(dataset[4][1], samples[1][1])
    drawn = Transformed(dataset, lambda *sample: np.random.rand())
    assert drawn[3] == drawn[3] != drawn[4]
