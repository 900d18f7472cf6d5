"""Inputs at the edge: no boxes, tiny and huge images, nothing to sample. All have an outcome."""

import warnings

import helpers
import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.presets.rcnn import (
    FasterRCNNDefaultTrainTransform as GluonCVTransform,
)
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetGenerator as GluonCVGenerator
from helpers import PYRAMIDS, make_sample

from rpn_target import (
    FasterRCNNTrainBatchify,
    FasterRCNNTrainTransform,
    MaskRCNNTrainBatchify,
    MaskRCNNTrainTransform,
    RPNTargetGenerator,
    RPNTargetSampler,
    RPNTargetWarning,
    seeded_loader,
)

NOTHING = {
    "(0, 4)": np.zeros((0, 4)),
    "(0, 5)": np.zeros((0, 5)),
    "(0, 6) float32": np.zeros((0, 6), np.float32),
    "(0, 5) int": np.zeros((0, 5), int),
    "(0,)": np.zeros(0),
    "list": [],
    "tuple": (),
}
each_nothing = pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
each_net = pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
RNGS = {
    "global": lambda: None,
    "number": lambda: 3,
    "RandomState": lambda: np.random.RandomState(3),
    "Generator": lambda: np.random.default_rng(3),
}
each_rng = pytest.mark.parametrize("rng", RNGS.values(), ids=RNGS)
WORKERS = [dict(num_workers=0), dict(num_workers=2), dict(num_workers=2, thread_pool=True)]


def image_of(height, width):
    rng = np.random.RandomState(1)
    return mx.nd.array(rng.randint(0, 256, (height, width, 3)), dtype="uint8")


def make(kind, net, short=80, max_size=200, **options):
    """Return a transform for a network, with as many anchors as it has, which GluonCV needs."""
    multi_stage = net is not None and not hasattr(net.rpn.anchor_generator, "anchors")
    options.setdefault("ashape", 96 if multi_stage else 24)
    return kind(short, max_size, net, multi_stage=multi_stage, **options)


def both(net, *args, **options):
    """Return both transforms, with what they are given beside an image and an empty label."""
    return [
        (make(FasterRCNNTrainTransform, net, *args, **options), ()),
        (make(MaskRCNNTrainTransform, net, *args, **options), ([],)),
    ]


def join(levels):
    return np.concatenate([level.ravel() for level in levels])


@pytest.mark.filterwarnings("ignore:no image of a batch:rpn_target.RPNTargetWarning")
class TestNoBoxes:
    @each_rng
    @pytest.mark.parametrize("count", [1, 50])
    def test_sampler(self, rng, count):
        """All are negatives, and sampled; they match box 0, for want of any."""
        samples, matches = RPNTargetSampler(20, 0.7, 0.3, 0.5, rng=rng())(np.zeros((count, 0)))
        assert samples.dtype == np.float32 and matches.dtype == np.int64
        assert samples.tolist().count(-1) == min(count, 20)
        assert samples.tolist().count(0) == max(0, count - 20)
        assert not matches.any()

    @each_rng
    @pytest.mark.parametrize(
        "nothing", [np.zeros((0, 4)), np.zeros(0), [], ()], ids=["(0, 4)", "(0,)", "list", "tuple"]
    )
    @pytest.mark.parametrize("form", ["lattice", "array"])
    def test_generator(self, rng, nothing, form):
        anchors = getattr(PYRAMIDS["c4"], form)(200, 300)
        targets = RPNTargetGenerator(20, rng=rng())(nothing, anchors, 300, 200)
        assert [array.shape for array in targets] == [(len(anchors), *s) for s in ((), (4,), (4,))]
        assert (targets.cls_target == 0).sum() == 20
        assert not (targets.cls_target == 1).any()
        assert not targets.box_target.any() and not targets.box_mask.any()
        inside = helpers.valid_numbers(PYRAMIDS["c4"].array(200, 300), 200, 300)
        assert np.isin(np.flatnonzero(targets.cls_target == 0), inside).all()

    @each_rng
    @each_nothing
    @each_net
    def test_transforms(self, request, name, nothing, rng):
        net = request.getfixturevalue(name)
        image = image_of(90, 120)
        for transform, extra in both(net, num_sample=20, rng=rng()):
            for _ in range(2):
                img, bbox, cls_targets, box_targets, box_masks, *masks = transform(
                    image, nothing, *extra
                )
                assert img.shape == (3, 80, 107)
                assert isinstance(bbox, np.ndarray) and bbox.dtype == np.float32
                columns = nothing.shape[1] if np.ndim(nothing) == 2 else 4
                assert bbox.shape == (0, columns)
                assert (join(cls_targets) == 0).sum() == 20
                assert not (join(cls_targets) == 1).any()
                assert not join(box_targets).any() and not join(box_masks).any()
                assert [array.shape for array in masks] == [(0, 80, 107)] * len(extra)

    @each_nothing
    def test_transforms_without_network(self, nothing):
        for transform, extra in both(None):
            img, bbox, *masks = transform(image_of(90, 120), nothing, *extra)
            assert img.shape == (3, 80, 107) and len(bbox) == 0 and len(masks) == len(extra)

    @each_net
    @pytest.mark.parametrize("boxes", [(0, 0), (0, 4), (4, 0), (0,)])
    def test_batchify(self, request, name, boxes):
        """Labels have at least a row of padding; masks at least one of zeros."""
        net = request.getfixturevalue(name)
        faster, mask = both(net, num_sample=20, rng=3)
        samples = [make_sample(90, 120 + 9 * k, count, seed=k) for k, count in enumerate(boxes)]
        most = max(1, *boxes)
        img, labels, cls_targets, *_ = FasterRCNNTrainBatchify(net)(
            [faster[0](image, label) for image, label in samples]
        )
        assert labels.shape == (len(boxes), most, 6)
        for label, count in zip(labels.asnumpy(), boxes):
            assert (label[count:] == -1).all() and (label[:count] >= 0).all()
        assert ((cls_targets[0].asnumpy() >= 0).sum(axis=1) == 20).all()
        batch = [
            mask[0](image, label, [[np.array([[1.0, 1], [9, 1], [9, 9]])]] * len(label))
            for image, label in samples
        ]
        img, labels, masks, *_ = MaskRCNNTrainBatchify(net)(batch)
        assert masks.shape == (len(boxes), most, *img.shape[2:])
        for part, count in zip(masks.asnumpy(), boxes):
            assert not part[count:].any() and part[:count].any() == bool(count)

    @pytest.mark.parametrize("workers", WORKERS, ids=str)
    @each_net
    def test_loader(self, request, name, workers):
        net = request.getfixturevalue(name)
        dataset = [(image_of(90, 120), np.zeros((0, 5))) for _ in range(4)]
        loader = seeded_loader(
            dataset, make(FasterRCNNTrainTransform, net, num_sample=20), 1, batch_size=2,
            batchify_fn=FasterRCNNTrainBatchify(net), **workers,
        )  # fmt: skip
        batches = list(loader)
        assert len(batches) == 2
        for _, labels, (cls,), (box,), (mask,) in batches:
            assert labels.shape == (2, 1, 5) and (labels.asnumpy() == -1).all()
            assert ((cls.asnumpy() == 0).sum(axis=1) == 20).all()
            assert not (cls.asnumpy() == 1).any()
            assert not box.asnumpy().any() and not mask.asnumpy().any()

    @pytest.mark.parametrize("workers", WORKERS, ids=str)
    def test_mask_loader(self, c4_net, workers):
        dataset = [(image_of(90, 120), [], []) for _ in range(4)]
        loader = seeded_loader(
            dataset, make(MaskRCNNTrainTransform, c4_net, num_sample=20), 1, batch_size=2,
            batchify_fn=MaskRCNNTrainBatchify(c4_net), **workers,
        )  # fmt: skip
        for _, labels, masks, (cls,), (box,), _ in loader:
            assert labels.shape == (2, 1, 5) and masks.shape == (2, 1, 80, 107)
            assert ((cls.asnumpy() == 0).sum(axis=1) == 20).all() and not box.asnumpy().any()


class TestSmallImages:
    """Of sizes at which no anchor is valid, down to one pixel."""

    SIZES = [(1, 1), (1, 2), (5, 3), (9, 9)]

    @pytest.mark.parametrize("form", ["lattice", "array"])
    @pytest.mark.parametrize("height, width", SIZES)
    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_generator_as_gluoncv(self, pyramid, height, width, form):
        """With boxes, every anchor ties with the best: GluonCV makes them all positive."""
        array = PYRAMIDS[pyramid].array(height, width)
        assert not len(helpers.valid_numbers(array, height, width))
        boxes = np.array([[0, 0, width, height]], np.float32)
        anchors = getattr(PYRAMIDS[pyramid], form)(height, width)
        targets = helpers.run_both(
            lambda: tuple(RPNTargetGenerator(8)(boxes, anchors, width, height)),
            lambda: GluonCVGenerator(8)(mx.nd.array(boxes), mx.nd.array(array), width, height),
        )
        assert (targets[0] == 1).sum() == min(4, len(array))

    @pytest.mark.parametrize("form", ["lattice", "array"])
    @pytest.mark.parametrize("height, width", SIZES)
    @pytest.mark.parametrize("boxes", [[], [[0, 0, 1, 1]]])
    @pytest.mark.parametrize("name", ["keep", "drop"])
    def test_generator_with_options(self, height, width, form, boxes, name):
        """With the other two rules nothing is sampled; with a border, it is."""
        anchors = getattr(PYRAMIDS["c4"], form)(height, width)
        block = RPNTargetGenerator(8, low_quality_matches=name)
        cls_target, box_target, box_mask = block(boxes, anchors, width, height)
        assert (cls_target == -1).all() and not box_target.any() and not box_mask.any()
        block = RPNTargetGenerator(8, low_quality_matches=name, allowed_border=1000)
        cls_target = block(boxes, anchors, width, height).cls_target
        assert (cls_target >= 0).sum() == 8
        assert (cls_target == 1).any() == (name == "keep" and bool(boxes))

    @pytest.mark.parametrize("form", ["lattice", "array"])
    @pytest.mark.parametrize("height, width", SIZES)
    def test_generator_without_boxes(self, height, width, form):
        """No anchor is in the image, so none is a negative."""
        anchors = getattr(PYRAMIDS["fpn"], form)(height, width)
        cls_target, box_target, box_mask = RPNTargetGenerator()([], anchors, width, height)
        assert (cls_target == -1).all() and not box_target.any() and not box_mask.any()

    @pytest.mark.filterwarnings("ignore:no anchor lies inside an image")
    @each_net
    @pytest.mark.parametrize("height, width", SIZES)
    def test_transform_as_gluoncv(self, request, name, height, width):
        """Resized to no more than a few pixels."""
        net = request.getfixturevalue(name)
        image, label = image_of(height, width), np.array([[0, 0, width, height, 1.0]])
        ours, theirs = (
            make(kind, net, 6, 12, num_sample=8)
            for kind in (FasterRCNNTrainTransform, GluonCVTransform)
        )
        img, _, cls_targets, *_ = helpers.run_both(
            lambda: ours(image, label), lambda: theirs(image, label)
        )
        assert max(img.shape) <= 12
        assert (join(cls_targets) == 1).sum() == min(4, len(join(cls_targets)))

    @each_net
    @pytest.mark.parametrize("boxes", [0, 1])
    def test_one_pixel(self, request, name, boxes):
        """Enlarged as any other: GluonCV, and without boxes all negatives."""
        net = request.getfixturevalue(name)
        label = np.array([[0, 0, 1, 1, 1.0]])[:boxes]
        ours = make(FasterRCNNTrainTransform, net, num_sample=16)
        if boxes:
            theirs = make(GluonCVTransform, net, num_sample=16)
            helpers.run_both(
                lambda: ours(image_of(1, 1), label), lambda: theirs(image_of(1, 1), label)
            )
        img, _, cls_targets, *_ = ours(image_of(1, 1), label)
        assert img.shape == (3, 80, 80)
        assert (join(cls_targets) >= 0).sum() == 16
        assert (join(cls_targets) == 1).any() == bool(boxes)

    def test_one_pixel_mask(self, c4_net):
        segm = [[np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])]]
        transform = make(MaskRCNNTrainTransform, c4_net)
        *_, masks = transform(image_of(1, 1), np.array([[0, 0, 1, 1, 1.0]]), segm)
        assert masks.shape == (1, 80, 80) and masks.asnumpy().all()


class TestAspectRatios:
    @pytest.mark.parametrize("height, width", [(1, 5000), (5000, 1), (1, 401), (401, 1)])
    @pytest.mark.parametrize("boxes", [0, 1])
    def test_no_pixel_left(self, height, width, boxes):
        """Both limits at once would make the short side 0: OpenCV's error names neither."""
        label = np.array([[0, 0, 1, 1, 1.0]])[:boxes]
        for transform, extra in both(None):
            extra = tuple([[np.array([[0.0, 0], [1, 0], [1, 1]])]] * boxes for _ in extra)
            with pytest.raises(ValueError, match=f"image of {width} x {height}"):
                transform(image_of(height, width), label, *extra)

    @pytest.mark.filterwarnings("ignore:no anchor lies inside an image")
    @each_net
    @pytest.mark.parametrize("height, width", [(1, 390), (390, 1), (2, 600), (3, 1000), (1000, 3)])
    def test_thin(self, request, name, height, width):
        """One pixel and more is enough, as for GluonCV."""
        net = request.getfixturevalue(name)
        label = np.array([[0, 0, width, height, 1.0]])
        ours, theirs = (make(k, net) for k in (FasterRCNNTrainTransform, GluonCVTransform))
        helpers.run_both(
            lambda: ours(image_of(height, width), label),
            lambda: theirs(image_of(height, width), label),
        )

    @each_net
    @pytest.mark.parametrize("height, width", [(1, 390), (1000, 3), (9, 1200)])
    def test_no_valid_anchor(self, request, name, height, width):
        """GluonCV's rule makes every anchor positive then: one warning, and nothing else."""
        net = request.getfixturevalue(name)
        image, label = image_of(height, width), np.array([[0, 0, width, height, 1.0]])
        for kind, extra in (
            (FasterRCNNTrainTransform, ()),
            (MaskRCNNTrainTransform, ([[np.array([[0.0, 0], [1, 0], [1, 1]])]],)),
        ):
            transform = make(kind, net)
            with pytest.warns(RPNTargetWarning, match="no anchor lies inside an image of") as got:
                first = transform(image, label, *extra, rng=np.random.default_rng(1))
                again = transform(image, label, *extra, rng=np.random.default_rng(1))
            assert len(got) == 1
            assert f"all {len(join(first[2]))} anchors are positive" in str(got[0].message)
            helpers.assert_same(first, again)

    @pytest.mark.parametrize(
        "options, boxes",
        [({}, 0), (dict(low_quality_matches="drop"), 1), (dict(allowed_border=1000), 1)],
    )
    def test_no_warning_where_it_has_no_effect(self, c4_net, options, boxes):
        label = np.array([[0, 0, 390, 1, 1.0]])[:boxes]
        make(FasterRCNNTrainTransform, c4_net, **options)(image_of(1, 390), label)

    def test_largest_side(self):
        img, _ = make(FasterRCNNTrainTransform, None)(image_of(2, 600), [])
        assert img.shape == (3, 1, 200)


class TestLargeImages:
    """Beyond ``ashape`` cells, where GluonCV's targets are cut off; and beyond the network's."""

    @pytest.mark.parametrize("name, ashape, enough", [("c4_net", 4, 24), ("fpn_net", 16, 96)])
    def test_beyond_ashape(self, request, name, ashape, enough):
        """Complete targets: those of GluonCV with an ``ashape`` that is enough."""
        net = request.getfixturevalue(name)
        image, label = make_sample(90, 140, seed=1)
        ours = make(FasterRCNNTrainTransform, net, 100, num_sample=32, ashape=ashape)
        theirs = make(GluonCVTransform, net, 100, num_sample=32, ashape=enough)
        helpers.run_both(lambda: ours(image, label), lambda: theirs(image, label))
        cut = make(GluonCVTransform, net, 100, num_sample=32, ashape=ashape)(image, label)
        assert cut[2][0].shape < ours(image, label)[2][0].shape

    def test_within_the_network(self, c4_net):
        """It has anchors for 24 x 24 cells of 16 pixels."""
        transform, image = make(FasterRCNNTrainTransform, c4_net, 384, 384), image_of(60, 60)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            transform(image, [])

    @pytest.mark.parametrize("kind", [FasterRCNNTrainTransform, MaskRCNNTrainTransform])
    @pytest.mark.parametrize(
        "size, shape", [((40, 60), (400, 600)), ((40, 38), (421, 400)), ((39, 40), (400, 410))]
    )
    def test_beyond_the_network(self, c4_net, kind, size, shape):
        """Complete targets, and one warning per transform, whatever else it sees."""
        extra = ([],) if kind is MaskRCNNTrainTransform else ()
        images = [image_of(24, 24), image_of(*size), image_of(24, 60)]
        for _ in range(2):
            transform = make(kind, c4_net, 400, 1000, num_sample=10**9)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                transform(images[0], [], *extra)  # 400 x 400: 25 cells are too many
                img, _, (cls_target,), *_ = transform(images[1], [], *extra)
                transform(images[2], [], *extra)
            assert len(caught) == 1
            message = str(caught[0].message)
            assert "an image of 400 x 400 has a feature map of 25 x 25 cells" in message
            assert "the network has anchors for 24 x 24 only" in message
        assert img.shape[1:] == shape
        rows, columns = (-(-side // 16) for side in shape)
        assert cls_target.shape[:2] == (rows, columns)
        assert (cls_target[24:] == 0).any() or (cls_target[:, 24:] == 0).any()

    def test_targets_beyond_the_network(self, c4_net):
        """The lattice goes on: as GluonCV's anchors would, if it had more of them."""
        transform = make(FasterRCNNTrainTransform, c4_net, 400, 1000, num_sample=32, flip_p=0)
        image, label = make_sample(60, 90, seed=3)
        helpers.seed_all(5)
        with pytest.warns(UserWarning, match="an image of 600 x 400"):
            img, bbox, *targets = transform(image, label)
        assert img.shape == (3, 400, 600)
        anchors = helpers.gluoncv_anchors(((16, 8, (0.5, 1, 2), (2, 4, 8)),), ((25, 38),))
        helpers.seed_all(5)
        np.random.random_sample(2)  # the flips
        expected = GluonCVGenerator(32)(mx.nd.array(bbox[:, :4]), mx.nd.array(anchors), 600, 400)
        for levels, array in zip(targets, expected):
            np.testing.assert_array_equal(levels[0].ravel(), array.ravel())

    def test_in_workers(self, c4_net):
        """Each worker has a transform of its own, and warns by itself; the targets are whole."""
        transform = make(FasterRCNNTrainTransform, c4_net, 400, 1000)
        loader = seeded_loader(
            [(image_of(40, 60), [])] * 2, transform, 1, batch_size=1, num_workers=1,
            thread_pool=True, batchify_fn=FasterRCNNTrainBatchify(c4_net),
        )  # fmt: skip
        with pytest.warns(UserWarning, match="an image of 600 x 400") as caught:
            batches = list(loader)
        assert len(caught) == 1
        assert [batch[2][0].shape for batch in batches] == [(1, 25 * 38 * 9)] * 2


@pytest.mark.filterwarnings("ignore:no image of a batch:rpn_target.RPNTargetWarning")
class TestNothingSampled:
    @each_net
    def test_batch(self, request, name):
        """GluonCV's loss divides by the number of samples."""
        net = request.getfixturevalue(name)
        transform = make(FasterRCNNTrainTransform, net, 6, 12)
        batch = [transform(image_of(6, 9), []), transform(image_of(8, 6), [])]
        with pytest.warns(UserWarning, match="no anchor was sampled in a batch of 2 images") as got:
            _, _, (cls,), (box,), _ = FasterRCNNTrainBatchify(net)(batch)
        assert len(got) == 1
        assert "padded to 9 x 8" in str(got[0].message)
        assert (cls.asnumpy() == -1).all() and not box.asnumpy().any()

    def test_one_sample_is_enough(self, c4_net):
        """No warning where another image of the batch has samples."""
        small = make(FasterRCNNTrainTransform, c4_net, 6, 12)(image_of(6, 9), [])
        large = make(FasterRCNNTrainTransform, c4_net, num_sample=1)(image_of(60, 60), [])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            FasterRCNNTrainBatchify(c4_net)([small, large])

    def test_per_shard(self, c4_net):
        """A shard is a batch of its own: each device has its loss."""
        small = make(FasterRCNNTrainTransform, c4_net, 6, 12)(image_of(6, 9), [])
        large = make(FasterRCNNTrainTransform, c4_net)(image_of(60, 60), [])
        with pytest.warns(UserWarning, match="batch of 1 images padded to 9 x 6"):
            FasterRCNNTrainBatchify(c4_net, 2)([large, small])

    def test_mask(self, c4_net):
        transform = make(MaskRCNNTrainTransform, c4_net, 6, 12)
        sample = transform(image_of(6, 9), [], [])
        with pytest.warns(UserWarning, match="no anchor was sampled in .* padded to 9 x 6"):
            MaskRCNNTrainBatchify(c4_net)([sample])

    @pytest.mark.parametrize("workers", [WORKERS[0], WORKERS[2]], ids=str)
    def test_loader(self, c4_net, workers):
        loader = seeded_loader(
            [(image_of(6, 9), [])], make(FasterRCNNTrainTransform, c4_net, 6, 12), 1, batch_size=1,
            batchify_fn=FasterRCNNTrainBatchify(c4_net), **workers,
        )  # fmt: skip
        with pytest.warns(UserWarning, match="no anchor was sampled in .* padded to 9 x 6"):
            assert len(list(loader)) == 1


class TestNoQuota:
    """``num_sample=0``: everything is ignored, and the batch warns."""

    @each_rng
    @pytest.mark.parametrize("boxes", [0, 5])
    def test_generator_and_sampler(self, rng, boxes):
        array = PYRAMIDS["c4"].array(200, 300)
        boxes = helpers.make_boxes("uniform", 5, 200, 300, array)[:boxes]
        for anchors in (array, PYRAMIDS["c4"].lattice(200, 300)):
            targets = RPNTargetGenerator(0, rng=rng())(boxes, anchors, 300, 200)
            assert (targets.cls_target == -1).all()
            assert not targets.box_target.any() and not targets.box_mask.any()
        ious = np.linspace(0, 1, 20)[:, None].repeat(len(boxes), axis=1)
        samples, _ = RPNTargetSampler(0, 0.7, 0.3, 0.5, rng=rng())(ious)
        assert not samples.any()

    def test_as_gluoncv(self, c4_net):
        image, label = make_sample(90, 120, seed=1)
        ours, theirs = (
            make(kind, c4_net, num_sample=0)
            for kind in (FasterRCNNTrainTransform, GluonCVTransform)
        )
        result = helpers.run_both(lambda: ours(image, label), lambda: theirs(image, label))
        with pytest.warns(UserWarning, match="no anchor was sampled .* padded to 107 x 80"):
            FasterRCNNTrainBatchify(c4_net)([result])

    @each_rng
    @pytest.mark.parametrize("ratio, positives", [(0, 0), (0.5, 5), (1, 10)])
    def test_ratios(self, rng, ratio, positives):
        ious = np.linspace(0, 1, 100)[:, None]
        samples, _ = RPNTargetSampler(10, 0.7, 0.3, ratio, rng=rng())(ious)
        assert (samples == 1).sum() == positives
        assert (samples == -1).sum() == 10 - positives


class TestOddBoxes:
    """Boxes that are allowed: without area, outside of the image, very large, the same twice."""

    @pytest.mark.parametrize("form", ["lattice", "array"])
    @pytest.mark.parametrize(
        "boxes",
        [
            [[50, 50, 50, 50]],
            [[50, 50, 50, 90], [10, 10, 60, 60]],
            [[-500, -500, -400, -400]],
            [[1000, 1000, 1100, 1100], [10, 10, 60, 60]],
            [[-1e4, -1e4, 1e4, 1e4]],
            [[0, 0, 1e9, 1e9], [10, 10, 60, 60]],
            [[10, 10, 60, 60]] * 3,
            [[10, 10, 10 + 1e-5, 60]],
        ],
        ids=str,
    )
    def test_as_gluoncv(self, boxes, form):
        boxes = np.array(boxes, np.float32)
        anchors = getattr(PYRAMIDS["c4"], form)(120, 200)
        array = mx.nd.array(PYRAMIDS["c4"].array(120, 200))
        for options in (dict(), dict(num_sample=10**9), dict(num_sample=10**9, neg_iou_thresh=0)):
            ours, theirs = RPNTargetGenerator(**options), GluonCVGenerator(**options)
            targets = helpers.run_both(
                lambda: tuple(ours(boxes, anchors, 200, 120)),  # noqa: B023
                lambda: theirs(mx.nd.array(boxes), array, 200, 120),  # noqa: B023
            )
            assert not any(np.isnan(target).any() for target in targets)

    def test_no_anchors(self):
        for boxes in ([], [[0, 0, 5, 5]]):
            targets = RPNTargetGenerator()(boxes, np.zeros((0, 4)), 30, 20)
            assert [array.shape for array in targets] == [(0,), (0, 4), (0, 4)]
            samples, matches = RPNTargetSampler(9, 0.7, 0.3, 0.5)(np.zeros((0, len(boxes))))
            assert samples.shape == matches.shape == (0,)
