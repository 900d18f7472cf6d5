"""`MaskRCNNTrainTransform` against GluonCV's: bare, pickled, in DataLoaders, with its batchify."""

from __future__ import annotations

import pickle

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.batchify import MaskRCNNTrainBatchify as GluonCVBatchify
from gluoncv.data.transforms.presets.rcnn import MaskRCNNDefaultTrainTransform as GluonCVTransform
from helpers import make_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet.gluon.data import DataLoader, Dataset

from rpn_target import FasterRCNNTrainTransform, MaskRCNNTrainBatchify, MaskRCNNTrainTransform

pytest.importorskip("pycocotools")  # which GluonCV draws masks with

NETS = pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
NET_OR_NONE = pytest.mark.parametrize("name", [None, "c4_net", "fpn_net"])


@pytest.fixture(scope="module")
def networks(c4_net, fpn_net):
    return {"c4_net": c4_net, "fpn_net": fpn_net}


@pytest.fixture(scope="module")
def transforms(networks):
    """Return a function that makes both transforms, GluonCV's only once per set of options."""
    made = {}

    def make(name, short=100, **options):
        key = name, repr(short), repr(sorted(options.items()))
        if key not in made:
            net = networks.get(name)
            stage = {} if net is None else dict(ashape=net.ashape, multi_stage=name == "fpn_net")
            made[key] = [
                kind(short, 200, net, **stage, **options)
                for kind in (MaskRCNNTrainTransform, GluonCVTransform)
            ]
        return made[key]

    return make


def make_polygons(label, seed=0, most=3):
    """Return seeded outlines for the boxes of a label: some star-shaped polygons for each."""
    rng = np.random.RandomState(seed)
    segm = []
    for xmin, ymin, xmax, ymax in label[:, :4]:
        polygons = []
        for _ in range(rng.randint(1, most + 1)):
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.randint(3, 12)))
            radius = rng.uniform(0.2, 0.5, len(angles))
            x = (xmin + xmax) / 2 + radius * np.cos(angles) * (xmax - xmin)
            y = (ymin + ymax) / 2 + radius * np.sin(angles) * (ymax - ymin)
            polygons.append(np.stack([x, y], axis=1).astype(np.float32))
        segm.append(polygons)
    return segm


def make_mask_sample(height, width, count=5, seed=0, columns=5, dtype="uint8"):
    image, label = make_sample(height, width, count, seed, columns, dtype)
    return image, label, make_polygons(label, seed)


def judge(pair, sample, seed=0):
    ours, theirs = pair
    return helpers.run_both(lambda: ours(*sample), lambda: theirs(*sample), seed)


class TestEmpty:
    """GluonCV crashes: it has no masks to stack."""

    @NETS
    @pytest.mark.parametrize("label", [[], np.zeros((0, 5)), np.zeros((0, 4), np.float32)])
    def test_no_objects(self, transforms, name, label):
        ours, theirs = transforms(name, num_sample=64)
        image, *others = make_mask_sample(123, 150)
        helpers.seed_all(4)
        with helpers.strict():
            img, bbox, cls, box, mask, masks = ours(image, label, [])
        helpers.seed_all(4)
        expected = theirs(image, *others)
        np.testing.assert_array_equal(img.asnumpy(), expected[0].asnumpy())
        assert bbox.shape == (0, np.shape(label)[-1] or 4)
        assert masks.shape == (0, *img.shape[1:])
        assert masks.dtype == np.float32
        assert sum((level == 0).sum() for level in cls) == 64
        assert not any(level.any() for level in box + mask)
        for actual, levels in zip((cls, box, mask), expected[2:5]):
            assert [part.shape for part in actual] == [part.shape for part in levels]

    def test_no_objects_without_network(self, transforms):
        ours, _ = transforms(None)
        img, bbox, masks = ours(make_sample(50, 60)[0], np.zeros((0, 5)), [])
        assert img.shape == (3, 100, 120)
        assert bbox.shape == (0, 5)
        assert masks.shape == (0, 100, 120)


class TestGluonCV:
    @NET_OR_NONE
    @pytest.mark.parametrize("height, width", [(90, 120), (131, 97), (16, 16), (300, 160)])
    def test_sizes_and_flips(self, transforms, name, height, width):
        """Resized up and down; the flip differs from seed to seed."""
        pair, flips = transforms(name), set()
        for seed in range(6):
            sample = make_mask_sample(height, width, seed=seed)
            results = judge(pair, sample, seed)
            assert len(results) == (3 if name is None else 6)
            assert results[0].dtype == results[1].dtype == results[-1].dtype == np.float32
            assert results[-1].context == mx.cpu()
            assert results[-1].shape == (5, *results[0].shape[1:])
            scale = results[0].shape[2] / width
            flips.add(abs(results[1][0, 0] - sample[1][0, 0] * scale) > 1e-3)
        assert flips == {True, False}

    @NETS
    @pytest.mark.parametrize("short", [(64, 110), [70, 71]])
    def test_random_short(self, transforms, name, short):
        pair = transforms(name, short)
        drawn = {judge(pair, make_mask_sample(80, 101), seed)[0].shape[1] for seed in range(8)}
        assert drawn <= set(range(short[0], short[1] + 1))
        assert len(drawn) > 1

    @NETS
    @pytest.mark.parametrize(
        "options",
        [
            dict(num_sample=16),
            dict(num_sample=0),
            dict(pos_iou_thresh=0.4, neg_iou_thresh=0.1, pos_ratio=0.25),
            dict(box_norm=(0.1, 0.1, 0.2, 0.2)),
            dict(mean=(0.1, 0.2, 0.3), std=(3, 1 / 3, 0.07), allowed_border=0),
        ],
        ids=str,
    )
    def test_options(self, transforms, name, options):
        pair = transforms(name, **options)
        for seed in range(3):
            judge(pair, make_mask_sample(110, 190, count=12, seed=seed), seed)

    @NET_OR_NONE
    @pytest.mark.parametrize("label_dtype", [np.float32, np.float64, np.int64])
    def test_dtypes(self, transforms, name, label_dtype):
        image, label, segm = make_mask_sample(88, 92, columns=7, dtype="float32")
        judge(transforms(name), (image, label.astype(label_dtype), segm))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
    def test_polygon_dtypes(self, transforms, dtype):
        image, label, segm = make_mask_sample(88, 92)
        segm = [[polygon.astype(dtype) for polygon in polygons] for polygons in segm]
        judge(transforms("c4_net"), (image, label, segm))

    def test_odd_polygons(self, transforms):
        """Outside the image, without area, self-intersecting, thinner than a pixel."""
        image, label = make_sample(100, 150, count=6, columns=5)
        segm = [
            [np.array([[-50, -50], [400, -50], [400, 400], [-50, 400]], np.float32)],
            [np.array([[200, 200], [210, 200], [210, 210]], np.float32)],
            [np.array([[10, 10], [10, 10], [10, 10]], np.float32)],
            [np.array([[20, 20], [80, 80], [80, 20], [20, 80]], np.float32)],
            [np.array([[5, 50.2], [140, 50.2], [140, 50.4], [5, 50.4]], np.float32)],
            [np.array([[0, 0], [150, 0], [150, 100], [0, 100]], np.float32)] * 3,
        ]
        for seed in range(4):
            masks = judge(transforms("fpn_net"), (image, label, segm), seed)[-1].asnumpy()
        assert masks[0].all() and masks[5].all()
        assert not masks[1].any()

    def test_hand_made_mask(self, transforms):
        """A left half becomes a left or a right half."""
        image, _ = make_sample(100, 160)
        label = np.array([[0, 0, 80, 100, 1]])
        half = [[np.array([[0, 0], [80, 0], [80, 100], [0, 100]], np.float32)]]
        sides = set()
        for seed in range(6):
            _, bbox, masks = judge(transforms(None), (image, label, half), seed)
            flipped = bbox[0, 0] == 80
            expected = np.zeros((1, 100, 160))
            expected[:, :, 80:] = flipped
            expected[:, :, :80] = not flipped
            np.testing.assert_array_equal(masks.asnumpy(), expected)
            sides.add(flipped)
        assert sides == {True, False}

    @pytest.mark.filterwarnings("ignore:no anchor lies inside an image")
    @settings(max_examples=60)
    @given(
        name=st.sampled_from([None, "c4_net", "fpn_net"]),
        height=st.integers(16, 300),
        width=st.integers(16, 300),
        count=st.integers(1, 20),
        short=st.sampled_from([16, 57, 100, (60, 130)]),
        seed=st.integers(0, 2**31),
    )
    def test_anything(self, transforms, name, height, width, count, short, seed):
        sample = make_mask_sample(height, width, count, seed)
        judge(transforms(name, short), sample, seed % 1000)


class TestAsTheFasterTwin:
    @NETS
    def test_same_but_for_the_masks(self, networks, name):
        """Both draw alike, whichever generator they draw from."""
        net = networks[name]
        image, label, segm = make_mask_sample(90, 140)
        stage = dict(multi_stage=name == "fpn_net", num_sample=32)
        for rng in (None, 5, np.random.RandomState(5), np.random.default_rng(5)):
            twins = []
            for kind, extra in ((FasterRCNNTrainTransform, ()), (MaskRCNNTrainTransform, (segm,))):
                transform = kind((80, 100), 200, net, rng=pickle.loads(pickle.dumps(rng)), **stage)
                helpers.seed_all(9)
                twins.append([transform(image, label, *extra) for _ in range(3)])
            for faster, mask in zip(*twins):
                helpers.assert_same(mask[:5], faster)

    def test_rng_of_a_call(self, networks):
        sample = make_mask_sample(90, 140)
        transform = MaskRCNNTrainTransform(100, 200, networks["c4_net"], num_sample=32)
        first, second = (transform(*sample, rng=np.random.default_rng(3)) for _ in range(2))
        helpers.assert_same(first, second)

    def test_flagged_boxes_keep_their_masks(self, networks):
        image, label, segm = make_mask_sample(90, 140, count=3)
        label[:, 4] = (0, 1, 0)
        transform = MaskRCNNTrainTransform(100, 200, networks["c4_net"], ignore_column=4)
        _, bbox, *_, masks = transform(image, label, segm)
        assert len(bbox) == len(masks) == 3


class TestAsAnObject:
    def test_is_a_gluoncv_transform(self, transforms):
        for name in (None, "c4_net", "fpn_net"):
            assert isinstance(transforms(name)[0], GluonCVTransform)

    @NET_OR_NONE
    def test_pickle(self, transforms, name):
        ours, _ = transforms(name)
        sample = make_mask_sample(97, 130)
        helpers.seed_all(3)
        expected = ours(*sample)
        pickled = pickle.dumps(ours)
        assert len(pickled) < 50_000
        helpers.seed_all(3)
        helpers.assert_same(pickle.loads(pickled)(*sample), expected)

    def test_inputs_stay(self, transforms):
        image, label, segm = make_mask_sample(100, 150)
        pixels, values = image.asnumpy(), label.copy()
        outlines = [[polygon.copy() for polygon in polygons] for polygons in segm]
        label.setflags(write=False)
        for seed in range(4):
            helpers.seed_all(seed)
            transforms("c4_net")[0](image, label, segm)
        np.testing.assert_array_equal(image.asnumpy(), pixels)
        np.testing.assert_array_equal(label, values)
        for polygons, kept in zip(segm, outlines):
            helpers.assert_same(polygons, kept)

    def test_refusals_name_what_came(self, transforms):
        ours, _ = transforms("c4_net")
        image, label, segm = make_mask_sample(100, 150)
        with pytest.raises(ValueError, match=r"segm must hold the polygons of 5 boxes.*is 4"):
            ours(image, label, segm[:4])
        label[2] = 7, 1, 5, 9, 0
        with pytest.raises(ValueError, match=r"row 2 is \[7.*150 x 100"):
            ours(image, label, segm)


SIZES = ((90, 120), (100, 100), (131, 97), (64, 200), (100, 150))


class Samples(Dataset):
    """Five images with labels and outlines."""

    def __init__(self):
        self._samples = [
            make_mask_sample(*size, count=1 + k, seed=k) for k, size in enumerate(SIZES)
        ]

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, index):
        return self._samples[index]


class SeededByItem:
    """A transform whose draws depend on the label alone, whichever worker gets it."""

    def __init__(self, transform):
        self._transform = transform

    def __call__(self, image, label, segm):
        helpers.seed_all(int(label.sum() * 1000) % 2**31)
        return self._transform(image, label, segm)


class TestLoader:
    """Our transform and batchify against GluonCV's, in whatever the DataLoader runs them."""

    def load(self, transform, batchify, **workers):
        helpers.seed_all(11)
        loader = DataLoader(
            Samples().transform(transform), 2, last_batch="keep", batchify_fn=batchify, **workers
        )
        return list(loader)

    @NETS
    @pytest.mark.parametrize("num_workers", [0, 1, 2])
    def test_processes(self, transforms, networks, name, num_workers):
        ours, theirs = map(SeededByItem, transforms(name, (80, 100), num_sample=32))
        expected = self.load(theirs, GluonCVBatchify(networks[name]))
        batchify = MaskRCNNTrainBatchify(networks[name])
        actual = self.load(ours, batchify, num_workers=num_workers)
        assert len(actual) == 3
        helpers.assert_same(actual, expected)

    def test_threads(self, transforms, networks):
        """They share one generator, so that flips differ from run to run: look at what must fit."""
        ours, _ = transforms("c4_net", num_sample=10**9)
        batchify = MaskRCNNTrainBatchify(networks["c4_net"])
        for images, labels, masks, (cls,), (box,), (mask,) in self.load(
            ours, batchify, num_workers=2, thread_pool=True
        ):
            assert len(images) == len(labels) == len(masks) == len(cls) == len(box) == len(mask)
            assert masks.shape[1:] == (labels.shape[1], *images.shape[2:])
            flagged = (labels.asnumpy()[:, :, 0] >= 0).sum(axis=1)
            drawn = masks.asnumpy().any(axis=(2, 3)).sum(axis=1)
            assert (drawn <= flagged).all() and drawn.any()

    @pytest.mark.slow
    @NETS
    def test_one_worker_and_the_state_after_it(self, transforms, networks, name):
        ours, theirs = transforms(name, num_sample=32)
        batchify = MaskRCNNTrainBatchify(networks[name])
        for workers in (dict(num_workers=1), dict(num_workers=0)):
            helpers.run_both(
                lambda workers=workers: self.load(ours, batchify, **workers),
                lambda workers=workers: self.load(theirs, batchify, **workers),
            )

    @pytest.mark.filterwarnings("ignore:no image of a batch:rpn_target.RPNTargetWarning")
    def test_images_without_objects(self, transforms, networks):
        """Alone in a batch, and beside others."""
        ours, _ = transforms("c4_net", num_sample=32)

        class Mixed(Samples):
            def __getitem__(self, index):
                image, label, segm = self._samples[index]
                return (image, label, segm) if index == 1 else (image, label[:0], [])

        loader = DataLoader(
            Mixed().transform(ours), 2, last_batch="keep", num_workers=2,
            batchify_fn=MaskRCNNTrainBatchify(networks["c4_net"]),
        )  # fmt: skip
        mixed, *empty = list(loader)
        assert mixed[1].shape == (2, 2, 5)
        assert (mixed[1][0].asnumpy() == -1).all()
        assert not mixed[2][0].asnumpy().any() and mixed[2][1].asnumpy().any()
        for images, labels, masks, (cls,), (box,), _ in empty:
            assert labels.shape == (len(images), 1, 5)
            assert (labels.asnumpy() == -1).all()
            assert masks.shape == (len(images), 1, *images.shape[2:])
            assert not masks.asnumpy().any() and not box.asnumpy().any()
            assert ((cls.asnumpy() == 0).sum(axis=1) == 32).all()
