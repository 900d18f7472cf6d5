"""The transform inside a real ``DataLoader``: in process, in worker processes, in threads."""

import random

import helpers
import numpy as np
import pytest
from gluoncv.data.batchify import Append, FasterRCNNTrainBatchify, Tuple
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform as GluonCVTransform,
)
from mxnet.gluon.data import DataLoader, Dataset

from rpn_target import FasterRCNNTrainTransform

SIZES = ((90, 120), (100, 100), (131, 97), (64, 200), (100, 150))
# Nothing is drawn but the flip, which has to come out one way: workers may take any item.
NOTHING_DRAWN = dict(num_sample=10**9, flip_p=0)
WORKERS = {
    "in process": dict(num_workers=0),
    "processes": dict(num_workers=2),
    "threads": dict(num_workers=2, thread_pool=True),
}
APPEND = Tuple(*[Append() for _ in range(5)])


class Samples(Dataset):
    """Five images with their labels."""

    def __init__(self):
        self._samples = [helpers.make_sample(*size, seed=k) for k, size in enumerate(SIZES)]

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, index):
        return self._samples[index]


class SeededByItem:
    """A transform whose draws depend on the label alone, whichever worker gets it."""

    def __init__(self, transform):
        self._transform = transform

    def __call__(self, image, label):
        seed = int(label.sum() * 1000) % 2**31
        np.random.seed(seed)
        random.seed(seed)
        return self._transform(image, label)


def pair(net, multi_stage, short=100, **options):
    """Return our transform and GluonCV's."""
    if net is not None:
        options.update(ashape=net.ashape, multi_stage=multi_stage)
    kinds = (FasterRCNNTrainTransform, GluonCVTransform)
    return [kind(short, 200, net, **options) for kind in kinds]


def load(transform, batchify, batch_size=2, **workers):
    """Return all batches, from the same random state on every call."""
    helpers.seed_all(11)
    dataset = Samples().transform(transform, lazy=True)
    loader = DataLoader(
        dataset, batch_size, shuffle=False, last_batch="keep", batchify_fn=batchify, **workers
    )
    return list(loader)


def assert_same_batches(ours, theirs, count):
    assert len(ours) == count
    helpers.assert_same(ours, theirs)


class NoBoxes(Samples):
    """The same images without ground truth."""

    def __getitem__(self, index):
        return self._samples[index][0], np.zeros((0, 6))


def skip(labels):
    """Batch empty labels, which MXNet cannot: return how many there are."""
    assert all(label.shape == (0, 6) for label in labels)
    return len(labels)


@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
class TestLoader:
    def test_no_boxes(self, c4_net, workers):
        transform = FasterRCNNTrainTransform(100, 200, c4_net, flip_p=0, num_sample=16)
        dataset = NoBoxes().transform(transform, lazy=True)
        batchify = Tuple(Append(), skip, Append(), Append(), Append())
        loader = DataLoader(dataset, 1, shuffle=False, batchify_fn=batchify, **workers)
        batches = list(loader)
        assert len(batches) == len(SIZES)
        for _, labels, (cls,), (box,), (mask,) in batches:
            assert labels == 1
            assert (cls.asnumpy() == 0).sum() == 16
            assert not box.asnumpy().any() and not mask.asnumpy().any()

    def test_c4_with_append(self, c4_net, workers):
        ours, theirs = pair(c4_net, False, **NOTHING_DRAWN)
        assert_same_batches(load(ours, APPEND, **workers), load(theirs, APPEND), 3)

    def test_fpn_with_gluoncv_batchify(self, fpn_net, workers):
        batchify = FasterRCNNTrainBatchify(fpn_net)
        ours, theirs = pair(fpn_net, True, **NOTHING_DRAWN)
        assert_same_batches(load(ours, batchify, **workers), load(theirs, batchify), 3)

    def test_without_network(self, workers):
        batchify = Tuple(Append(), Append())
        ours, theirs = pair(None, False, flip_p=1)
        assert_same_batches(load(ours, batchify, **workers), load(theirs, batchify), 3)


@pytest.mark.parametrize("workers", [WORKERS["in process"], WORKERS["processes"]], ids=str)
class TestDraws:
    """With all that is random: threads share one generator, so there it cannot be repeated."""

    @pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
    def test_seeded_by_item(self, request, name, workers):
        net = request.getfixturevalue(name)
        batchify = FasterRCNNTrainBatchify(net)
        ours, theirs = map(
            SeededByItem, pair(net, name == "fpn_net", short=(80, 100), num_sample=32)
        )
        assert_same_batches(load(ours, batchify, **workers), load(theirs, batchify), 3)

    @pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
    def test_one_after_the_other(self, request, name, workers):
        """One worker takes the items in order, and inherits the state of its parent."""
        net = request.getfixturevalue(name)
        if workers["num_workers"]:
            workers = dict(num_workers=1)
        batchify = FasterRCNNTrainBatchify(net)
        ours, theirs = pair(net, name == "fpn_net", num_sample=32)
        assert_same_batches(load(ours, batchify, **workers), load(theirs, batchify, **workers), 3)


def test_state_after_an_epoch(fpn_net):
    batchify = FasterRCNNTrainBatchify(fpn_net)
    helpers.run_both(
        *[
            lambda transform=transform: load(transform, batchify)
            for transform in pair(fpn_net, True)
        ]
    )
