"""The options GluonCV lacks: on the lattice, on an array, on a matrix, and in plain loops."""

import pathlib

import helpers
import mxnet as mx
import naive
import naive_options
import numpy as np
import pytest
from gluoncv.data import VOCDetection
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetGenerator as GluonCVGenerator
from helpers import MAKERS, PYRAMIDS, make_boxes, make_sample, seed_all
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target import (
    FasterRCNNTrainTransform,
    MaskRCNNTrainTransform,
    RPNTargetGenerator,
    RPNTargetSampler,
    RPNTargetWarning,
)
from rpn_target.core.anchor_array import AnchorArray
from rpn_target.core.lattice import AnchorLattice
from rpn_target.core.settings import LOW_QUALITY_MATCHES

ALL = dict(num_sample=10**9, pos_ratio=1)  # nothing is drawn, so every anchor shows
QUOTAS = (ALL, dict(num_sample=16), dict(num_sample=7, pos_ratio=0.25))
THRESHOLDS = ((0.7, 0.3), (0.5, 0.5), (0.9, 0.05), (0.3, 1e-6), (1, 1), (0.4, 0), (0, 0))
SIZES = ((48, 64), (90, 70), (17, 130))


def judge(pyramid, boxes, height, width, ignore=None, seed=0, **options):
    """Assert that lattice, array and NDArrays give what loops give; returns the targets.

    ``np.random`` afterwards is in the same state, too.
    """
    array = PYRAMIDS[pyramid].array(height, width)
    lattice = PYRAMIDS[pyramid].lattice(height, width)
    seed_all(seed)
    with np.errstate(all="ignore"):
        expected = naive_options.targets(
            array, boxes, width, height, () if ignore is None else ignore, **options
        )
    state = helpers.random_states()
    block = RPNTargetGenerator(**options)
    for form in (lattice, array, mx.nd.array(array), AnchorArray(array)):
        seed_all(seed)
        with helpers.strict():
            targets = block.forward(boxes, form, width, height, ignore)
        for actual, wanted in zip(targets, expected):
            assert actual.dtype == np.float32
            np.testing.assert_array_equal(actual, wanted)
        assert helpers.random_states() == state
    return targets


def codes(anchors, boxes, ignore=None, width=100, height=100, **options):
    """Return the cls_target of a few anchors in an image, if nothing is drawn."""
    block = RPNTargetGenerator(**ALL, **options)
    return block.forward(boxes, anchors, width, height, ignore).cls_target.tolist()


class TestLowQualityByHand:
    # IoU with the box 0 0 20 20: of 400 pixels, 100 (0.25), 240 (0.6), none; and 80 of 480 (1/6).
    BOX = [[0, 0, 20, 20]]
    LOW, MIDDLE, APART = [0, 0, 10, 10], [0, 0, 20, 12], [50, 50, 60, 60]
    LOWER = [0, 16, 20, 24]

    @pytest.mark.parametrize(
        "anchors, gluoncv, keep, drop",
        [
            ([MIDDLE, LOW, APART], [1, 0, 0], [1, 0, 0], [-1, 0, 0]),
            ([LOW, LOWER, APART], [0, 0, 0], [1, 0, 0], [0, 0, 0]),
            ([LOW, LOW, LOWER], [0, 0, 0], [1, 1, 0], [0, 0, 0]),  # ties
            ([APART, APART], [0, 0], [0, 0], [0, 0]),  # the best IoU is 0
            ([[0, 0, 20, 20], MIDDLE, LOW], [1, -1, 0], [1, -1, 0], [1, -1, 0]),
            ([[-1, 0, 20, 20], LOW], [-1, 0], [-1, 1], [-1, 0]),  # the best of the valid ones
            ([[-1, 0, 20, 20]], [1], [-1], [-1]),  # none is valid
        ],
    )
    def test_one_box(self, anchors, gluoncv, keep, drop):
        for name, expected in zip(LOW_QUALITY_MATCHES, (gluoncv, keep, drop)):
            assert codes(anchors, self.BOX, low_quality_matches=name) == expected

    def test_default_is_gluoncv(self):
        assert codes([self.MIDDLE], self.BOX) == [1]
        assert codes([self.LOW], self.BOX) == [0]

    def test_box_without_overlap_makes_no_positives(self):
        """GluonCV takes every in-between anchor of other boxes for its best ones."""
        boxes = [*self.BOX, [80, 80, 90, 90]]
        anchors = [[0, 0, 20, 20], self.MIDDLE, self.LOW]
        assert codes(anchors, boxes) == [1, 1, 0]
        assert codes(anchors, boxes, low_quality_matches="keep") == [1, -1, 0]
        assert codes(anchors, boxes, low_quality_matches="drop") == [1, -1, 0]

    def test_kept_anchor_stands_for_the_box_it_overlaps_most(self):
        # The best of the second box (20 / 580), but the first is overlapped more (80 / 480).
        boxes = np.array([[0, 0, 20, 20], [0, 23, 20, 43]])
        anchors = np.array([self.LOWER, [0, 0, 20, 12]])
        targets = RPNTargetGenerator(**ALL, low_quality_matches="keep")(boxes, anchors, 100, 100)
        assert targets.cls_target.tolist() == [1, 1]
        np.testing.assert_array_equal(
            targets.box_target[0],
            naive.encode(anchors[0].astype("f"), boxes[0].astype("f"), [1] * 4),
        )

    @pytest.mark.parametrize("name", ["", "Keep", None, 1, ["keep"]])
    def test_other_names(self, name):
        for make in (
            RPNTargetGenerator,
            FasterRCNNTrainTransform,
            MaskRCNNTrainTransform,
            lambda **option: RPNTargetSampler(4, 0.7, 0.3, 0.5, **option),
        ):
            with pytest.raises(
                ValueError, match="low_quality_matches must be one of gluoncv, keep,"
            ):
                make(low_quality_matches=name)


def ious_of(array, boxes, height, width, border=0):
    rows = naive.iou_matrix(array, boxes, width, height, border)
    return np.array(rows, np.float32).reshape(len(array), len(boxes))


def judge_sampler(ious, seed=0, **options):
    """Assert that the sampler gives what loops give on a matrix, in both of its forms."""
    options = {"num_sample": 256, "pos_ratio": 0.5, **options}
    low_quality_matches = options.pop("low_quality_matches")
    thresholds = options["pos_iou_thresh"], options["neg_iou_thresh"]
    block = RPNTargetSampler(**options, low_quality_matches=low_quality_matches)
    seed_all(seed)
    expected, expected_matches = naive_options.label(
        [list(row) for row in ious], *thresholds, low_quality_matches
    )
    expected = naive_options.draw(expected, options["num_sample"], options["pos_ratio"])
    state = helpers.random_states()
    kinds = [ious] if ious.dtype == np.float64 else [ious, mx.nd.array(ious)]
    for kind in kinds:
        seed_all(seed)
        with helpers.strict():
            samples, matches = block(kind)
        assert helpers.random_states() == state
        np.testing.assert_array_equal(helpers.to_numpy(samples), expected)
        np.testing.assert_array_equal(helpers.to_numpy(matches), expected_matches)


@pytest.mark.parametrize("quota", QUOTAS, ids=str)
@pytest.mark.parametrize("name", LOW_QUALITY_MATCHES)
class TestLowQuality:
    @pytest.mark.parametrize("thresholds", THRESHOLDS, ids=str)
    @pytest.mark.parametrize("pyramid", ["small", "odd"])
    def test_all_forms(self, pyramid, thresholds, name, quota):
        high, low = thresholds
        options = dict(pos_iou_thresh=high, neg_iou_thresh=low, low_quality_matches=name, **quota)
        for seed, (height, width) in enumerate(SIZES[:2]):
            array = PYRAMIDS[pyramid].array(height, width)
            for kind in ("mixed", "between"):
                boxes = make_boxes(kind, 4, height, width, array, seed)
                judge(pyramid, boxes, height, width, seed=seed, **options)

    @pytest.mark.parametrize("kind", ["mixed", "duplicate"])
    def test_many_boxes(self, kind, name, quota):
        """More than are searched for at once."""
        height, width = SIZES[0]
        boxes = make_boxes(kind, 140, height, width, PYRAMIDS["small"].array(height, width))
        judge("small", boxes, height, width, boxes[:3], low_quality_matches=name, **quota)

    @pytest.mark.parametrize("thresholds", THRESHOLDS, ids=str)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_matrix(self, dtype, thresholds, name, quota):
        high, low = thresholds
        options = dict(pos_iou_thresh=high, neg_iou_thresh=low, low_quality_matches=name, **quota)
        rng = np.random.RandomState(1)
        for seed in range(8):
            ious = rng.choice([-1, 0, 1e-7, 0.05, 0.2, 0.3, 0.5, 0.7, 1], (30, 4)).astype(dtype)
            ious[rng.uniform(size=30) < 0.3] = -1
            ious += (rng.randint(-2, 3, ious.shape) * 2.0**-24).astype(dtype)
            judge_sampler(ious, seed, **options)
        judge_sampler(np.full((5, 2), -1, dtype), **options)
        judge_sampler(np.zeros((5, 2), dtype), **options)

    def test_matrix_of_anchors(self, name, quota):
        """The sampler on the IoUs, against the generator on the boxes."""
        height, width = SIZES[0]
        array = PYRAMIDS["odd"].array(height, width)
        for seed, kind in enumerate(MAKERS):
            boxes = make_boxes(kind, 5, height, width, array, seed)
            ious = ious_of(array, boxes, height, width)
            seed_all(seed)
            samples, _ = RPNTargetSampler(
                **{"num_sample": 256, "pos_ratio": 0.5, **quota},
                pos_iou_thresh=0.7, neg_iou_thresh=0.3, low_quality_matches=name,
            )(ious)  # fmt: skip
            seed_all(seed)
            block = RPNTargetGenerator(**quota, low_quality_matches=name)
            cls_target = block(boxes, array, width, height).cls_target
            np.testing.assert_array_equal(cls_target == 1, samples == 1)
            np.testing.assert_array_equal(cls_target == 0, samples == -1)


class TestTies:
    """GluonCV takes near-ties of a box's best anchor; "keep" takes equal IoUs, as detectron2."""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_by_hand(self, dtype):
        best = dtype(0.2)
        below = np.nextafter(best, dtype(0))
        ious = np.array([[best, 0], [below, 0], [best, 0.4], [0, 0.4], [0, 0.39]], dtype)
        ties = {"gluoncv": [-1, -1, 1, 1, 0], "keep": [1, -1, 1, 1, 0], "drop": [-1, -1, 0, 0, 0]}
        for name, expected in ties.items():
            sampler = RPNTargetSampler(256, 0.7, 0.3, 0.5, low_quality_matches=name)
            np.testing.assert_array_equal(sampler(ious)[0], expected)

    def test_anchors_inside_a_large_box(self):
        """In theory all have the same IoU; float32 rounds it differently at each coordinate."""
        corners = np.arange(0, 200, 10)[:, None] + np.float32([0.1, 0.3, 0.7])
        corners = corners.ravel().astype(np.float32)
        array = np.stack(np.broadcast_arrays(corners, corners[:, None]), axis=-1).reshape(-1, 2)
        array = np.concatenate([array, array + np.float32(16.3)], axis=1)
        boxes = np.array([[-10, -10, 600, 600]], np.float32)
        iou = ious_of(array, boxes, 999, 999)[:, 0]
        ties = (iou == iou.max()).sum()
        assert 0 < ties < len(array)
        assert (iou + np.float32(2.0**-23) > iou.max()).all()
        for form in (array, AnchorArray(array)):
            for name, expected in (("keep", ties), ("gluoncv", len(array))):
                block = RPNTargetGenerator(
                    **ALL, pos_iou_thresh=0.5, neg_iou_thresh=1e-5, low_quality_matches=name
                )
                found = block.forward(boxes, form, 999, 999).cls_target
                assert (found == 1).sum() == expected
                samples, _ = RPNTargetSampler(10**9, 0.5, 1e-5, 1, name)(iou[:, None])
                np.testing.assert_array_equal(samples == 1, found == 1)


class TestLowQualityEmpty:
    @pytest.mark.parametrize("name", LOW_QUALITY_MATCHES)
    def test_no_boxes(self, name):
        judge("small", np.zeros((0, 4)), 48, 64, **ALL, low_quality_matches=name)
        samples, matches = RPNTargetSampler(
            10**9, 0.7, 0.3, 1, low_quality_matches=name
        )(np.zeros((9, 0)))  # fmt: skip
        assert (samples == -1).all() and not matches.any()


class TestBorderByHand:
    ANCHORS = np.array(
        [[0, 0, 9, 9], [-4, 2, 5, 11], [2, -4.5, 11, 5], [90, 90, 104, 99], [90, 90, 99, 104.5]]
    )

    @pytest.mark.parametrize(
        "border, valid",
        [
            (0, [1, 0, 0, 0, 0]),
            (3.9, [1, 0, 0, 0, 0]),
            (4, [1, 1, 0, 0, 0]),  # on the far side the border itself is out, as at 0
            (4.25, [1, 1, 0, 1, 0]),
            (4.5, [1, 1, 1, 1, 0]),
            (4.75, [1, 1, 1, 1, 1]),
            (10**9, [1, 1, 1, 1, 1]),
            (float("inf"), [1, 1, 1, 1, 1]),
        ],
    )
    def test_edges(self, border, valid):
        found = codes(self.ANCHORS, np.zeros((0, 4)), allowed_border=border)
        assert found == [value - 1 for value in valid]

    def test_border_of_the_lattice(self):
        """From no border to all anchors, in steps: as many as the definition says."""
        lattice = PYRAMIDS["fpn"].lattice(100, 140)
        array = PYRAMIDS["fpn"].array(100, 140)
        counts = []
        for border in (0, 1, 7.5, 8, 30, 100, 10**4):
            block = RPNTargetGenerator(**ALL, allowed_border=border)
            negative = block(np.zeros((0, 4)), lattice, 140, 100).cls_target == 0
            expected = helpers.valid_numbers(array, 100, 140, border)
            np.testing.assert_array_equal(np.flatnonzero(negative), expected)
            counts.append(len(expected))
        assert counts == sorted(counts) and counts[0] < counts[-1] == len(array)


class TestBorder:
    @pytest.mark.parametrize("quota", QUOTAS, ids=str)
    @pytest.mark.parametrize("border", [0, 0.1, 8, 33.3, 10**9])
    @pytest.mark.parametrize("pyramid", ["small", "odd"])
    def test_all_forms(self, pyramid, border, quota):
        for seed, (height, width) in enumerate(SIZES):
            array = PYRAMIDS[pyramid].array(height, width)
            boxes = make_boxes("mixed", 4, height, width, array, seed)
            judge(pyramid, boxes, height, width, seed=seed, allowed_border=border, **quota)

    @pytest.mark.parametrize("border", [0, 1, 8, 40, 500])
    @pytest.mark.parametrize("kind", ["whole", "between", "border", "anchors"])
    def test_gluoncv_in_a_larger_image(self, border, kind):
        """A border is an image larger by it on all sides: GluonCV, with everything moved."""
        height, width = 120, 90
        pyramid = PYRAMIDS["c4"]
        array = pyramid.array(height, width)
        boxes = np.round(make_boxes(kind, 6, height, width, array))
        block = GluonCVGenerator(num_sample=64)
        moved = [mx.nd.array(corners + border) for corners in (boxes, array)]
        ours = RPNTargetGenerator(num_sample=64, allowed_border=border)
        for anchors in (array, pyramid.lattice(height, width)):
            helpers.run_both(
                lambda: tuple(ours(boxes, anchors, width, height)),  # noqa: B023
                lambda: block(*moved, width + 2 * border, height + 2 * border),
            )

    def test_transform(self, c4_net):
        image, label = make_sample(90, 120, seed=2)
        for kind, extra in transforms(label):
            counts = []
            for border in (0, 20, 10**6):
                transform = kind(
                    90, 200, c4_net, num_sample=10**9, allowed_border=border,
                    rng=np.random.default_rng(1),
                )  # fmt: skip
                _, _, (cls_target,), _, _, *_ = transform(image, label, *extra)
                counts.append((cls_target >= 0).sum())
            assert counts[0] < counts[1] < counts[2]


class TestIgnoreByHand:
    # Shares of their area in the region 0 0 40 40: all, 3/4, 1/2, 1/2 less a bit, none.
    ANCHORS = np.array(
        [[5, 5, 15, 15], [20, 30, 40, 42], [35, 5, 45, 15], [35, 20, 45.5, 30], [60, 60, 80, 80]],
        np.float32,
    )
    REGION = [[0, 0, 40, 40]]
    NOTHING = np.zeros((0, 4))

    @pytest.mark.parametrize(
        "threshold, ignored",
        [
            (0.5, [1, 1, 1, 0, 0]),
            (0.51, [1, 1, 0, 0, 0]),
            (1, [1, 0, 0, 0, 0]),
            (1e-6, [1] * 4 + [0]),
        ],
    )
    def test_threshold(self, threshold, ignored):
        found = codes(self.ANCHORS, self.NOTHING, self.REGION, ignore_iof_thresh=threshold)
        assert found == [-value for value in ignored]

    def test_default_threshold(self):
        assert codes(self.ANCHORS, self.NOTHING, self.REGION) == [-1, -1, -1, 0, 0]

    @pytest.mark.parametrize("nothing", [None, [], (), np.zeros((0, 4)), np.zeros(0)])
    def test_no_regions(self, nothing):
        assert codes(self.ANCHORS, self.NOTHING, nothing) == [0] * 5

    @pytest.mark.parametrize("region", [[7, 7, 7, 7], [0, 7, 40, 7], [200, 0, 300, 100]])
    def test_region_that_covers_nothing(self, region):
        assert codes(self.ANCHORS, self.NOTHING, [region]) == [0] * 5

    def test_region_that_covers_everything(self):
        assert codes(self.ANCHORS, self.NOTHING, [[-10, -10, 500, 500]]) == [-1] * 5

    def test_regions_are_not_added_up(self):
        halves = [[0, 0, 9, 40], [9, 0, 40, 40]]
        assert codes(self.ANCHORS[:1], self.NOTHING, halves) == [-1]  # 6/10
        assert codes(self.ANCHORS[:1], self.NOTHING, halves, ignore_iof_thresh=0.7) == [0]

    def test_positives_stay(self):
        assert codes(self.ANCHORS, self.ANCHORS[:1], self.REGION) == [1, -1, -1, 0, 0]

    def test_anchor_without_area(self):
        assert codes([[5, 5, 5, 9], [5, 5, 9, 9]], self.NOTHING, self.REGION) == [0, -1]

    def test_by_keyword(self):
        """A gluon Block takes positional arguments only; this one takes a keyword, too."""
        block = RPNTargetGenerator(**ALL)
        found = block(self.NOTHING, self.ANCHORS, 100, 100, ignore=self.REGION).cls_target
        assert found.tolist() == [-1, -1, -1, 0, 0]
        found = block(self.NOTHING, self.ANCHORS, 100, 100, self.REGION).cls_target
        assert found.tolist() == [-1, -1, -1, 0, 0]
        found = block(self.NOTHING, self.ANCHORS, 100, 100, mx.nd.array(self.REGION)).cls_target
        assert found.tolist() == [-1, -1, -1, 0, 0]

    @pytest.mark.parametrize(
        "region, error, message",
        [
            (
                [[5, 0, 4, 9]],
                ValueError,
                r"ignore must hold finite .* row 0 is \[5.0, 0.0, 4.0, 9.0\]",
            ),
            ([[0, 0, 1, 1], [0, np.nan, 1, 1]], ValueError, "ignore must hold .* row 1 is"),
            (
                [[0, 0, 1]],
                ValueError,
                r"ignore must have shape \([MK], 4\), but its shape is \(1, 3\)",
            ),
            ([["a"] * 4], TypeError, "ignore must hold real numbers"),
        ],
    )
    def test_bad_regions(self, region, error, message):
        with pytest.raises(error, match=message) as caught:
            codes(self.ANCHORS, self.NOTHING, region)
        assert str(caught.value).endswith("(image of 100 x 100)")

    @pytest.mark.parametrize("value", [0, -0.5, 1.01, float("nan")])
    def test_thresholds_out_of_range(self, value):
        for make in (RPNTargetGenerator, FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(ValueError, match=r"ignore_iof_thresh must be in \(0, 1\], but got"):
                make(ignore_iof_thresh=value)


class TestIgnore:
    @pytest.mark.parametrize("quota", QUOTAS, ids=str)
    @pytest.mark.parametrize("threshold", [1e-6, 0.25, 0.5, 1])
    @pytest.mark.parametrize("pyramid", ["small", "odd"])
    def test_all_forms(self, pyramid, threshold, quota):
        for seed, (height, width) in enumerate(SIZES):
            array = PYRAMIDS[pyramid].array(height, width)
            boxes = make_boxes("mixed", 3, height, width, array, seed)
            for kind in ("huge", "mixed", "anchors"):
                ignore = make_boxes(kind, 4, height, width, array, seed + 10)
                judge(
                    pyramid, boxes, height, width, ignore, seed,
                    ignore_iof_thresh=threshold, **quota,
                )  # fmt: skip

    def test_no_boxes(self):
        array = PYRAMIDS["small"].array(90, 70)
        ignore = make_boxes("uniform", 4, 90, 70, array)
        judge("small", np.zeros((0, 4), np.float32), 90, 70, ignore)

    def test_inputs_are_not_changed(self):
        array = PYRAMIDS["small"].array(90, 70)
        boxes, ignore = (make_boxes("uniform", 4, 90, 70, array, seed) for seed in (0, 1))
        before = boxes.copy(), ignore.copy()
        judge("small", boxes, 90, 70, ignore)
        np.testing.assert_array_equal((boxes, ignore), before)


@settings(max_examples=150)
@given(
    pyramid=st.sampled_from(["small", "odd"]),
    height=st.integers(1, 90), width=st.integers(1, 90),
    kinds=st.tuples(*[st.sampled_from(sorted(MAKERS))] * 2),
    counts=st.tuples(st.integers(0, 6), st.integers(0, 4)),
    thresholds=st.one_of(
        st.sampled_from(THRESHOLDS),
        st.tuples(*[st.floats(0, 1)] * 2).map(lambda pair: (max(pair), min(pair))),
    ),
    border=st.sampled_from([0, 0, 0.1, 8, 33.3, 10**9]),
    name=st.sampled_from(LOW_QUALITY_MATCHES),
    iof=st.sampled_from([1e-6, 0.3, 0.5, 1]),
    quota=st.sampled_from(QUOTAS),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_all_options_at_once(
    pyramid, height, width, kinds, counts, thresholds, border, name, iof, quota, seed
):
    array = PYRAMIDS[pyramid].array(height, width)
    boxes, ignore = (
        make_boxes(kind, count, height, width, array, seed + k)
        if count
        else np.zeros((0, 4), np.float32)
        for k, (kind, count) in enumerate(zip(kinds, counts))
    )
    judge(
        pyramid, boxes, height, width, ignore, seed, pos_iou_thresh=thresholds[0],
        neg_iou_thresh=thresholds[1], allowed_border=border, low_quality_matches=name,
        ignore_iof_thresh=iof, **quota,
    )  # fmt: skip


# --- through the transforms ---------------------------------------------------------------------


def transforms(label):
    """Return both transforms, with what they are given beside image and label."""
    corners = label[:, :4]
    segm = [[np.array([[x, y], [X, y], [X, Y], [x, Y]])] for x, y, X, Y in corners]
    return [(FasterRCNNTrainTransform, ()), (MaskRCNNTrainTransform, (segm,))]


class TestIgnoreColumn:
    IMAGE, LABEL = make_sample(90, 120, count=8, seed=4)
    FLAGS = np.array([0, 1, 0, 0, 1, 0, 0, 1])

    def flagged(self, flags=FLAGS):
        label = self.LABEL.copy()
        label[:, 5] = flags
        return label

    @pytest.mark.parametrize("name", ["c4_net", "fpn_net"])
    @pytest.mark.parametrize("seed", range(4))  # with and without a flip
    def test_is_what_the_generator_does(self, request, name, seed):
        net = request.getfixturevalue(name)
        multi_stage = name == "fpn_net"
        label = self.flagged()
        for kind, extra in transforms(label):
            transform = kind(
                80, 200, net, num_sample=40, multi_stage=multi_stage, ignore_column=5,
                ignore_iof_thresh=0.4, rng=np.random.RandomState(seed),
            )  # fmt: skip
            image, bbox, *targets = transform(self.IMAGE, label, *extra)
            assert len(bbox) == 8
            np.testing.assert_array_equal(bbox[:, 4:], label[:, 4:])
            # Once more by hand: what was drawn is drawn by a state that comes to the same point.
            height, width = image.shape[1:]
            state = np.random.RandomState(seed)
            state.random_sample(2)  # the flips
            lattice = AnchorLattice(
                transform._levels, transform._feature_maps.shapes(height, width)
            )
            block = RPNTargetGenerator(40, ignore_iof_thresh=0.4, rng=state)
            expected = block.forward(
                bbox[self.FLAGS == 0, :4], lattice, width, height, bbox[self.FLAGS == 1, :4]
            )
            for levels, array in zip(targets[:3], expected):
                helpers.assert_same(list(levels), lattice.split(array))

    def test_no_flags(self, c4_net):
        label = self.flagged(0)
        for kind, extra in transforms(label):
            results = [
                kind(80, 200, c4_net, rng=3, **options)(self.IMAGE, label, *extra)
                for options in (dict(), dict(ignore_column=5))
            ]
            helpers.assert_same(*results)

    def test_all_flagged(self, c4_net):
        """Nothing to learn, but the labels and the masks stay."""
        label = self.flagged(1)
        for kind, extra in transforms(label):
            transform = kind(80, 200, c4_net, num_sample=10**9, ignore_column=5, rng=3)
            result = transform(self.IMAGE, label, *extra)
            assert len(result[1]) == 8
            assert not (result[2][0] == 1).any() and not result[4][0].any()
            if extra:
                assert result[5].shape[0] == 8

    @pytest.mark.parametrize("column", [4, np.int64(5)])
    def test_columns(self, c4_net, column):
        label = self.LABEL.copy()
        label[:, 4:] = 0
        label[0, :4] = 10, 5, 110, 85
        label[0, column] = 1
        counts = []
        for one in (column, None):
            transform = FasterRCNNTrainTransform(
                80, 200, c4_net, num_sample=10**9, ignore_column=one, flip_p=0, rng=3
            )
            _, _, (cls_target,), _, _ = transform(self.IMAGE, label)
            counts.append((cls_target >= 0).sum())
        assert counts[0] < counts[1]

    @pytest.mark.parametrize("value", [0.25, 0.999, -1, 2, 80, np.nan, np.inf])
    @pytest.mark.parametrize("row", [0, 7])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_other_values_are_no_flags(self, c4_net, value, row, dtype):
        """A class, or the weight that GluonCV's mixup puts in column 5 of COCO's labels."""
        label = self.flagged().astype(dtype)
        label[row, 5] = value
        expected = f"{label[row, 5]}"
        for kind, extra in transforms(label):
            for on_bad_box in ("raise", "drop"):
                transform = kind(80, 200, c4_net, ignore_column=5, on_bad_box=on_bad_box)
                state = helpers.random_states()
                with pytest.raises(ValueError) as caught:
                    transform(self.IMAGE, label, *extra)
                assert str(caught.value) == (
                    "label[:, 5] (ignore_column) must hold flags 0 and 1, but row "
                    f"{row} has {expected} (image of 120 x 90)"
                )
                assert helpers.random_states() == state
            kind(80, 200, c4_net)(self.IMAGE, label, *extra)

    def test_flags_of_dropped_rows_may_be_anything(self, c4_net):
        label = self.flagged().astype(np.float64)
        label[2, 0], label[2, 5] = np.nan, 7
        label[5, 5] = 0.5
        transform = FasterRCNNTrainTransform(80, 200, c4_net, ignore_column=5, on_bad_box="drop")
        with pytest.warns(RPNTargetWarning, match="dropped 1 of 8"), pytest.raises(
            ValueError, match="row 5 has 0.5"
        ):
            transform(self.IMAGE, label)
        label[5, 5] = 1
        with pytest.warns(RPNTargetWarning, match="dropped 1 of 8"):
            transform(self.IMAGE, label)

    def test_too_few_columns(self, c4_net):
        for kind, extra in transforms(self.LABEL):
            with pytest.raises(
                ValueError,
                match=r"label must have a column 6 \(ignore_column\), but its shape is \(8, 6\) "
                r"\(image of 120 x 90\)",
            ):
                kind(80, 200, c4_net, ignore_column=6)(self.IMAGE, self.LABEL, *extra)

    def test_no_boxes(self, c4_net):
        transform = FasterRCNNTrainTransform(80, 200, c4_net, ignore_column=9, rng=3)
        for nothing in ([], np.zeros((0, 5)), np.zeros((0, 12))):
            _, bbox, (cls_target,), _, _ = transform(self.IMAGE, nothing)
            assert len(bbox) == 0 and (cls_target == 0).any()

    @pytest.mark.parametrize("column", [3, 0, -1])
    def test_corners_cannot_flag(self, column):
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(ValueError, match="ignore_column must be at least 4, but got"):
                kind(ignore_column=column)

    @pytest.mark.parametrize("column", ["5", 5.5, [5], True])
    def test_not_a_column(self, column):
        for kind in (FasterRCNNTrainTransform, MaskRCNNTrainTransform):
            with pytest.raises(TypeError, match="ignore_column must be a whole number, but got"):
                kind(ignore_column=column)


# --- a photograph -------------------------------------------------------------------------------


class Photos(VOCDetection):
    CLASSES = (
        "camera", "cat", "coin", "cup", "eye", "face", "helmet", "nose",
        "person", "rocket", "saucer", "shuttle", "spoon", "tower", "tripod",
    )  # fmt: skip


class TestRocket:
    """A long, thin object that no anchor fits: GluonCV never learns it."""

    @pytest.fixture()
    def photo(self):
        photos = pathlib.Path(__file__).resolve().parents[2] / "examples" / "photos"
        dataset = Photos(root=str(photos.parent), splits=((photos.name, "trainval"),))
        (item,) = [
            item for item, path in zip(dataset, dataset._items) if path[-1].startswith("rocket")
        ]
        return item

    def positives(self, net, photo, **options):
        """Return the anchors, as boxes, that are positive for the rocket, and its best IoU."""
        image, label = photo
        transform = FasterRCNNTrainTransform(
            600, 1000, net, num_sample=10**6, pos_ratio=1, flip_p=0, **options
        )
        image, bbox, (cls_target,), (box_target,), _ = transform(image, label)
        height, width = image.shape[1:]
        (row,) = np.flatnonzero(label[:, 4] == Photos.CLASSES.index("rocket"))
        rocket = bbox[row : row + 1, :4]
        lattice = AnchorLattice(transform._levels, [cls_target.shape[:2]])
        anchors = lattice.corners(np.arange(len(lattice)))
        inside = helpers.valid_numbers(anchors, height, width)
        best = mx.nd.contrib.box_iou(mx.nd.array(anchors[inside]), mx.nd.array(rocket)).max()
        # Which box an anchor was given: decode its target, or compare the code.
        positive = np.flatnonzero(cls_target.ravel() == 1)
        wanted = [naive.encode(anchors[n], rocket[0], [1] * 4) for n in positive]
        found = box_target.reshape(-1, 4)[positive]
        return [n for n, code, want in zip(positive, found, wanted) if (code == want).all()], best

    def test_rocket(self, c4_resnet50, photo):
        found, best = self.positives(c4_resnet50, photo)
        assert 0.2 < float(best.asscalar()) < 0.3
        assert found == []
        found, _ = self.positives(c4_resnet50, photo, low_quality_matches="keep")
        assert len(found) >= 1
        found, _ = self.positives(c4_resnet50, photo, low_quality_matches="drop")
        assert found == []

    def test_every_object_of_the_photograph_has_an_anchor(self, c4_resnet50, photo):
        image, label = photo
        transform = FasterRCNNTrainTransform(
            600, 1000, c4_resnet50, num_sample=10**6, pos_ratio=1, low_quality_matches="keep"
        )
        _, bbox, (cls_target,), _, _ = transform(image, label)
        assert (cls_target == 1).sum() >= len(bbox)
