"""Targets: encoding, and rows worked by hand."""

import helpers
import naive
import numpy as np
import pytest
from gluoncv.nn.coder import NumPyNormalizedBoxCenterEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target import RPNTargetGenerator
from rpn_target.core.anchor_array import AnchorArray
from rpn_target.core.boxes import intersection_over_union
from rpn_target.core.coder import CLS_IGNORE, CLS_NEGATIVE, CLS_POSITIVE, encode, fill
from rpn_target.core.lattice import AnchorLattice, Level
from rpn_target.core.sampler import Sample
from rpn_target.core.settings import TargetSettings

ONES = (1, 1, 1, 1)
NOTHING = np.zeros(0, np.int64)

# One row of 8 x 8 anchors, every 8 pixels, in an image of 40 x 9; the last one reaches the edge.
ROW = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [16, 0, 24, 8], [24, 0, 32, 8], [32, 0, 40, 8]])
LATTICE = AnchorLattice([Level(ROW[:1], 8)], [(1, 5)])
FORMS = pytest.mark.parametrize("anchors", [ROW, LATTICE], ids=["array", "lattice"])


def random_pairs(seed, count):
    """Return anchors and boxes of positive size, float32."""
    rng = np.random.RandomState(seed)
    corners = rng.uniform(-100, 1000, (2, count, 2))
    sizes = np.exp(rng.uniform(0, 6, (2, count, 2)))
    return np.concatenate([corners, corners + sizes], axis=-1).astype(np.float32)


class TestEncode:
    def test_empty(self):
        nothing = np.zeros((0, 4), np.float32)
        with helpers.strict():
            code = encode(nothing, nothing, ONES)
        assert code.shape == (0, 4)
        assert code.dtype == np.float32

    def test_by_hand(self):
        anchor = np.array([[10, 20, 20, 40]], np.float32)  # center 15, 30; size 10, 20
        box = np.array([[10, 30, 30, 40]], np.float32)  # center 20, 35; size 20, 10
        two = np.log(np.float32(2))
        half = np.log(np.float32(0.5))
        np.testing.assert_array_equal(encode(anchor, box, ONES), [[0.5, 0.25, two, half]])
        np.testing.assert_array_equal(
            encode(anchor, box, (0.5, 0.25, 2, 4)), [[1, 1, two / 2, half / 4]]
        )
        np.testing.assert_array_equal(encode(anchor, anchor, ONES), [[0, 0, 0, 0]])

    def test_box_without_size(self):
        anchor = np.array([[10, 20, 20, 40]], np.float32)
        with helpers.strict():
            code = encode(anchor, np.array([[15, 30, 15, 30]], np.float32), ONES)
        np.testing.assert_array_equal(code, [[0, 0, -np.inf, -np.inf]])

    @settings(max_examples=100)
    @given(
        seed=st.integers(0, 2**31),
        count=st.one_of(st.integers(1, 20), st.integers(1, 3000)),
        stds=st.tuples(*[st.sampled_from([1, 0.1, 0.2, 1 / 3, 7])] * 4),
    )
    def test_equals_gluoncv(self, seed, count, stds):
        anchors, boxes = random_pairs(seed, count)
        code = encode(anchors, boxes, stds)
        samples, matches = np.ones((1, count)), np.arange(count)[None]
        small = min(count, 60)  # GluonCV needs memory for every pair
        expected, _ = NumPyNormalizedBoxCenterEncoder(stds)(
            samples[:, :small], matches[:, :small], anchors[None, :small], boxes[None, :small]
        )
        assert code.dtype == np.float32
        np.testing.assert_array_equal(code[:small], expected[0])
        # The rows do not depend on each other, nor on how many there are.
        np.testing.assert_array_equal(encode(anchors[-1:], boxes[-1:], stds), code[-1:])

    @given(seed=st.integers(0, 2**31))
    def test_plain_loops(self, seed):
        anchors, boxes = random_pairs(seed, 5)
        stds = (0.1, 0.1, 0.2, 0.3)
        expected = [naive.encode(anchor, box, stds) for anchor, box in zip(anchors, boxes)]
        np.testing.assert_array_equal(encode(anchors, boxes, stds), expected)

    @given(
        x=st.integers(-500, 500), y=st.integers(-500, 500), dx=st.integers(-500, 500),
        dy=st.integers(-500, 500), width=st.integers(0, 9), height=st.integers(0, 9),
        stds=st.sampled_from([ONES, (0.5, 0.25, 2, 4)]),
    )  # fmt: skip
    def test_decode_undoes_a_shift_exactly(self, x, y, dx, dy, width, height, stds):
        """For sides that are powers of two and equal, nothing is rounded."""
        anchor = np.array([x, y, x + 2**width, y + 2**height], np.float32)
        box = (anchor + (dx, dy, dx, dy)).astype(np.float32)
        (code,) = encode(anchor[None], box[None], stds)
        np.testing.assert_array_equal(naive.decode(anchor, code, stds), box)

    @given(seed=st.integers(0, 2**31))
    def test_decode_undoes_encode(self, seed):
        """Otherwise float32 rounds: by some 1e-7 of the sizes and coordinates, no more."""
        anchors, boxes = random_pairs(seed, 20)
        for anchor, box, code in zip(anchors, boxes, encode(anchors, boxes, ONES)):
            error = np.abs(np.float64(naive.decode(anchor, code, ONES)) - box)
            assert error.max() < 5e-6 * np.abs([anchor, box]).max()

    def test_inputs_stay(self):
        anchors, boxes = random_pairs(0, 9)
        before = anchors.copy(), boxes.copy()
        encode(anchors, boxes, ONES)
        np.testing.assert_array_equal(anchors, before[0])
        np.testing.assert_array_equal(boxes, before[1])


class TestIntersectionOverUnion:
    def test_by_hand(self):
        anchor = np.array([0, 0, 4, 4], np.float32)
        cases = [
            ([0, 0, 4, 4], 1),
            ([0, 0, 4, 2], 0.5),
            ([2, 2, 6, 6], 4 / 28),
            ([4, 0, 8, 4], 0),  # touches a side
            ([4, 4, 8, 8], 0),  # touches a corner
            ([2, 2, 2, 2], 0),  # a point inside
            ([1, 1, 1, 3], 0),  # a line inside
            ([9, 9, 12, 12], 0),
            ([-4, -4, 8, 8], 16 / 144),
        ]
        boxes = np.array([box for box, _ in cases], np.float32)
        with helpers.strict():
            iou = intersection_over_union(anchor[:, None], boxes.T)
        np.testing.assert_array_equal(iou, np.array([value for _, value in cases], np.float32))
        for box, value in zip(boxes, iou):
            assert naive.iou(anchor, box) == value

    def test_two_boxes_without_area(self):
        point = np.array([3, 3, 3, 3], np.float32)
        with helpers.strict():
            iou = intersection_over_union(point[:, None], point[:, None])
        np.testing.assert_array_equal(iou, [0])


class TestFill:
    def test_nothing_kept(self):
        empty = Sample(NOTHING, NOTHING, NOTHING)
        cls, box, mask = fill(LATTICE, np.zeros((0, 4), np.float32), empty, ONES)
        np.testing.assert_array_equal(cls, [CLS_IGNORE] * 5)
        np.testing.assert_array_equal(box, np.zeros((5, 4)))
        np.testing.assert_array_equal(mask, np.zeros((5, 4)))

    @pytest.mark.parametrize("anchors", [LATTICE, AnchorArray(ROW)], ids=["lattice", "array"])
    def test_by_hand(self, anchors):
        boxes = np.array([[0, 0, 1, 1], [8, 4, 24, 8]], np.float32)
        kept = Sample(np.array([2, 1]), np.array([1, 1]), np.array([4]))
        targets = fill(anchors, boxes, kept, (1, 0.5, 1, 1))
        two, half = np.log(np.float32([2, 0.5]))
        np.testing.assert_array_equal(targets.cls_target, [-1, 1, 1, -1, 0])
        np.testing.assert_array_equal(
            targets.box_target,
            [[0] * 4, [0.5, 0.5, two, half], [-0.5, 0.5, two, half], [0] * 4, [0] * 4],
        )
        np.testing.assert_array_equal(
            targets.box_mask, [[0] * 4, [1] * 4, [1] * 4, [0] * 4, [0] * 4]
        )
        assert {target.dtype for target in targets} == {np.dtype(np.float32)}

    def test_codes(self):
        assert (CLS_POSITIVE, CLS_NEGATIVE, CLS_IGNORE) == (1, 0, -1)


class TestWholeRuleByHand:
    """From anchors and boxes to targets, every row worked out."""

    @FORMS
    def test_ties_and_thresholds(self, anchors):
        boxes = [
            [8, 0, 16, 8],  # is anchor 1
            [16, 0, 32, 8],  # IoU 1/2 with anchors 2 and 3: both tie for the best
        ]
        cls, box, mask = RPNTargetGenerator()(boxes, anchors, 40, 9)
        two = np.log(np.float32(2))
        # Anchor 0 overlaps nothing: negative. Anchor 4 reaches the edge at 40: ignored.
        np.testing.assert_array_equal(cls, [0, 1, 1, 1, -1])
        np.testing.assert_array_equal(
            box, [[0] * 4, [0] * 4, [0.5, 0, two, 0], [-0.5, 0, two, 0], [0] * 4]
        )
        np.testing.assert_array_equal(mask, np.repeat([[0], [1], [1], [1], [0]], 4, axis=1))

    @FORMS
    def test_same_box_twice_matches_the_first(self, anchors):
        boxes = [[8, 0, 16, 8], [8, 0, 16, 8], [10, 0, 18, 8]]
        cls, box, _ = RPNTargetGenerator()(boxes, anchors, 40, 9)
        # Anchor 1 is also the best of the third box (6/10), which it matches less.
        np.testing.assert_array_equal(cls, [0, 1, 0, 0, -1])
        np.testing.assert_array_equal(box, np.zeros((5, 4)))

    @FORMS
    def test_best_anchor_stays_background_below_the_threshold(self, anchors):
        boxes = [[0, 0, 8, 2]]  # IoU 1/4 with anchor 0
        cls, box, mask = RPNTargetGenerator()(boxes, anchors, 40, 9)
        np.testing.assert_array_equal(cls, [0, 0, 0, 0, -1])
        assert not box.any() and not mask.any()
        cls, _, _ = RPNTargetGenerator(neg_iou_thresh=0.25)(boxes, anchors, 40, 9)
        np.testing.assert_array_equal(cls, [1, 0, 0, 0, -1])

    @FORMS
    def test_low_best_of_one_box_decides_over_another(self, anchors):
        """Anchor 2 is in between for box 0, and the best of box 1 with an IoU of 1/8 only."""
        boxes = [[8, 0, 24, 8], [16, 0, 24, 1]]
        assert naive.iou(np.float32(ROW[2]), np.float32(boxes[1])) == 1 / 8
        cls, box, _ = RPNTargetGenerator()(boxes[:1] + [[8, 0, 16, 8]], anchors, 40, 9)
        np.testing.assert_array_equal(cls, [0, 1, 1, 0, -1])
        far = [[8, 0, 20, 8]]  # anchor 1 at 8/12, anchor 2 at 4/16
        cls, _, _ = RPNTargetGenerator(neg_iou_thresh=0.2)(far, anchors, 40, 9)
        np.testing.assert_array_equal(cls, [0, 1, -1, 0, -1])
        cls, box, _ = RPNTargetGenerator(neg_iou_thresh=0.2)(far + boxes[1:], anchors, 40, 9)
        np.testing.assert_array_equal(cls, [0, 1, 1, 0, -1])
        # ... and still stands for the box it overlaps most.
        growth = np.log(np.float32(12 / 8))
        np.testing.assert_array_equal(box[2], [-0.75, 0, growth, 0])

    @FORMS
    @pytest.mark.parametrize("steps, cls", [(0, 1), (2, 1), (4, -1), (8, -1)])
    def test_best_within_epsilon_of_nothing(self, anchors, steps, cls):
        """A best below epsilon ties with all anchors, those that do not meet the box included.

        The second box shares some float32 steps of height with anchor 0, which makes an IoU of
        steps / 4 epsilons. Anchor 2 is in between for the first box, and has nothing of the second.
        """
        low = 8 - steps * 2.0**-21
        boxes = np.array([[8, 0, 20, 8], [0, low, 8, 16]], np.float32)
        best = naive.iou(np.float32(ROW[0]), boxes[1])
        assert (best == naive.EPSILON) == (steps == 4)
        assert (best < naive.EPSILON) == (steps < 4)
        found, _, _ = RPNTargetGenerator(neg_iou_thresh=0.2)(boxes, anchors, 40, 9)
        np.testing.assert_array_equal(found, [0, 1, cls, 0, -1])

    @FORMS
    @pytest.mark.parametrize(
        "border, valid", [(0, [1, 1, 1, 1, 0]), (0.5, [1] * 5), (1e9, [1] * 5)]
    )
    def test_allowed_border(self, anchors, border, valid):
        """An anchor may stick out by the border: GluonCV's documentation, not what it does."""
        generator = RPNTargetGenerator(allowed_border=border)
        cls, _, _ = generator(np.zeros((0, 4)), anchors, 40, 9)
        np.testing.assert_array_equal(cls, np.array(valid) - 1)

    def test_border_on_every_side(self):
        anchors = np.array([[-2, 5, 9, 9], [5, -2, 9, 9], [5, 5, 12, 9], [5, 5, 9, 12]])
        for border, valid in ((0, 0), (1.9, 0), (2, 2), (2.1, 4)):
            # At 2 the near sides are in (-2 < -2 is false), the far ones not yet (12 >= 12).
            cls, _, _ = RPNTargetGenerator(allowed_border=border)([], anchors, 10, 10)
            assert (cls == 0).sum() == valid
        options = TargetSettings(allowed_border=2)
        assert options.allowed_border == 2
