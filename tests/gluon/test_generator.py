"""`RPNTargetGenerator` against GluonCV and plain loops, on arrays and on lattices of anchors."""

import helpers
import mxnet as mx
import naive
import numpy as np
import pytest
from gluoncv.model_zoo.rcnn.rpn.rpn_target import RPNTargetGenerator as GluonCVGenerator
from helpers import MAKERS, PYRAMIDS, make_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target import RPNTargetGenerator
from rpn_target.core.anchor_array import AnchorArray

SETTINGS = (
    dict(),
    dict(num_sample=0),
    dict(num_sample=1),
    dict(num_sample=64, pos_ratio=0.25),
    dict(num_sample=512),
    dict(num_sample=10**9),  # nothing is drawn, so every anchor shows
    dict(pos_ratio=0),
    dict(pos_ratio=1),
    dict(num_sample=7, pos_ratio=0.5),
    dict(pos_iou_thresh=0.5, neg_iou_thresh=0.5),
    dict(num_sample=10**9, neg_iou_thresh=0.0),
    dict(pos_iou_thresh=0.0, neg_iou_thresh=0.0),
    dict(pos_iou_thresh=1.0, neg_iou_thresh=0.3),
    dict(num_sample=10**9, pos_iou_thresh=1.0, neg_iou_thresh=1.0),
    dict(num_sample=10**9, pos_iou_thresh=0.9, neg_iou_thresh=0.1),
    dict(num_sample=10**9, pos_iou_thresh=0.7, neg_iou_thresh=1e-5),
    dict(num_sample=10**9, pos_iou_thresh=0.3, neg_iou_thresh=1e-3),
    dict(num_sample=10**9, pos_iou_thresh=0.3, neg_iou_thresh=2.0**-23),
    dict(num_sample=10**9, pos_iou_thresh=0.3, neg_iou_thresh=1e-50),  # is 0 in float32
    dict(num_sample=100, stds=(0.1, 0.1, 0.2, 0.2)),
    dict(num_sample=100, stds=[1, 2, 3, 4]),
    dict(num_sample=100, stds=np.array([0.1, 0.3, 0.7, 1 / 3])),
    dict(num_sample=100, stds=np.array([0.1, 0.3, 0.7, 1 / 3], np.float32)),
)


def judge(pyramid, boxes, height, width, seed=0, shape=None, **options):
    """Assert that every form of anchors gives what GluonCV gives; returns the targets."""
    pyramid = PYRAMIDS[pyramid]
    array = pyramid.array(*(shape or (height, width)))
    anchors, bbox = mx.nd.array(array), mx.nd.array(boxes)
    theirs, ours = GluonCVGenerator(**options), RPNTargetGenerator(**options)
    results = []

    def expected():
        if not results:
            results.append((theirs(bbox, anchors, width, height), helpers.random_states()))
        values, state = results[0]
        np.random.set_state((state[0], np.array(state[1], np.uint32), *state[2:5]))
        return values

    lattice = pyramid.lattice(*(shape or (height, width)))
    untouched = boxes.copy()
    forms = (boxes, lattice), (boxes, array), (bbox, anchors), (boxes, AnchorArray(array))
    for ground_truth, given_anchors in forms:
        targets = helpers.run_both(
            lambda: ours(ground_truth, given_anchors, width, height),  # noqa: B023
            expected,
            seed,
        )
        for target in targets:
            assert target.dtype == np.float32
    np.testing.assert_array_equal(boxes, untouched)
    np.testing.assert_array_equal(anchors.asnumpy(), array)
    return targets


class TestEmpty:
    """GluonCV crashes without ground truth; its users expect background and nothing to regress."""

    @pytest.mark.parametrize(
        "nothing", [np.zeros((0, 4)), np.zeros((0, 4), np.float32), np.zeros(0), [], ()]
    )
    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_no_boxes(self, nothing, pyramid):
        array = PYRAMIDS[pyramid].array(300, 200)
        valid = [naive.is_valid(anchor, 200, 300) for anchor in array]
        assert any(valid)
        for anchors in (array, PYRAMIDS[pyramid].lattice(300, 200)):
            for num_sample, kept in ((10**9, sum(valid)), (16, 16), (0, 0)):
                helpers.seed_all(3)
                with helpers.strict():
                    cls, box, mask = RPNTargetGenerator(num_sample)(nothing, anchors, 200, 300)
                assert (cls == 0).sum() == kept
                assert (cls == 1).sum() == 0
                assert all(np.array(valid)[cls == 0])
                np.testing.assert_array_equal(box, np.zeros((len(array), 4)))
                np.testing.assert_array_equal(mask, np.zeros((len(array), 4)))

    def test_no_boxes_draw_the_same_for_every_form_of_anchors(self):
        results = []
        for anchors in (PYRAMIDS["fpn"].array(99, 77), PYRAMIDS["fpn"].lattice(99, 77)):
            helpers.seed_all(4)
            results.append((RPNTargetGenerator(9)([], anchors, 77, 99), helpers.random_states()))
        helpers.assert_same(results[0][0], results[1][0])
        assert results[0][1] == results[1][1]

    def test_no_boxes_as_ndarray(self):
        with mx.util.np_shape(True):
            bbox = mx.nd.zeros((0, 4))
            cls, _, _ = RPNTargetGenerator()(bbox, PYRAMIDS["c4"].array(100, 100), 100, 100)
        assert set(cls) <= {0, -1}

    def test_no_boxes_and_no_valid_anchor(self):
        for anchors in (PYRAMIDS["c4"].array(16, 16), PYRAMIDS["c4"].lattice(16, 16)):
            cls, box, mask = RPNTargetGenerator()([], anchors, 16, 16)
            np.testing.assert_array_equal(cls, [-1] * 15)
            assert not box.any() and not mask.any()

    @pytest.mark.parametrize("boxes", [[], [[0, 0, 5, 5]]])
    def test_no_anchors(self, boxes):
        cls, box, mask = RPNTargetGenerator()(boxes, np.zeros((0, 4)), 16, 16)
        assert (cls.shape, box.shape, mask.shape) == ((0,), (0, 4), (0, 4))


class TestGluonCV:
    @pytest.mark.parametrize("kind", MAKERS)
    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_kinds_of_boxes(self, pyramid, kind):
        anchors = PYRAMIDS[pyramid].array(203, 331)
        for count in (1, 2, 9, 40):
            boxes = make_boxes(kind, count, 203, 331, anchors, seed=count)
            judge(pyramid, boxes, 203, 331)
            judge(pyramid, boxes, 203, 331, num_sample=10**9)

    @pytest.mark.parametrize("options", SETTINGS, ids=str)
    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_settings(self, pyramid, options):
        anchors = PYRAMIDS[pyramid].array(160, 224)
        for kind in ("mixed", "between", "uniform", "duplicate"):
            for count in (1, 12):
                boxes = make_boxes(kind, count, 160, 224, anchors, seed=count)
                judge(pyramid, boxes, 160, 224, seed=count, **options)

    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    @pytest.mark.parametrize(
        "height, width",
        [(16, 16), (16, 31), (33, 17), (64, 64), (65, 127), (100, 1333), (600, 50), (375, 500)],
    )
    def test_sizes(self, pyramid, height, width):
        anchors = PYRAMIDS[pyramid].array(height, width)
        for kind in ("mixed", "huge"):
            boxes = make_boxes(kind, 5, height, width, anchors)
            judge(pyramid, boxes, height, width)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "pyramid, height, width, count",
        [("c4", 600, 800, 1), ("c4", 600, 1000, 30), ("c4", 1333, 800, 100), ("fpn", 800, 1217, 8),
         ("fpn", 800, 1333, 30), ("fpn", 1333, 800, 100), ("odd", 800, 1333, 50)],
    )  # fmt: skip
    def test_large_images(self, pyramid, height, width, count):
        anchors = PYRAMIDS[pyramid].array(height, width)
        boxes = make_boxes("mixed", count, height, width, anchors)
        judge(pyramid, boxes, height, width)

    @pytest.mark.parametrize("kind", ["mixed", "duplicate", "between", "crowd"])
    @pytest.mark.parametrize("count", [128, 129, 400])
    def test_many_boxes(self, kind, count):
        """More than are searched for at once: ties go to the lowest row over all of them."""
        boxes = make_boxes(kind, count, 203, 331, PYRAMIDS["fpn"].array(203, 331))
        for options in (dict(), dict(num_sample=10**9), dict(neg_iou_thresh=0.01)):
            judge("fpn", boxes, 203, 331, **options)

    def test_last_of_many_boxes_meets_no_anchor(self):
        inner = PYRAMIDS["c4"].array(320, 320)[3000:3001] + np.float32(5)
        boxes = np.concatenate([np.repeat(inner, 200, axis=0), inner + np.float32(5000)])
        judge("c4", boxes, 320, 320, num_sample=10**9)
        judge("c4", boxes[::-1].copy(), 320, 320, num_sample=10**9)

    @pytest.mark.parametrize("options", [dict(), dict(neg_iou_thresh=0)], ids=str)
    def test_all_anchors_outside(self, options):
        """GluonCV makes every anchor positive, and so do we."""
        box = np.array([[1, 1, 9, 9], [2, 2, 5, 5]], np.float32)
        cls, _, _ = judge("c4", box, 16, 16, num_sample=10**9, **options)
        assert (cls == 1).all()
        judge("c4", box, 16, 16, num_sample=8, **options)

    def test_outside_box_turns_anchors_in_between_positive(self):
        """Every anchor ties with the best IoU, 0, of a box that none overlaps."""
        inner = PYRAMIDS["c4"].array(320, 320)[3000:3001] + np.float32(5)
        outer = inner + np.float32(5000)
        alone, _, _ = judge("c4", inner, 320, 320, num_sample=10**9)
        both, _, _ = judge("c4", np.concatenate([inner, outer]), 320, 320, num_sample=10**9)
        assert (both == 1).sum() > (alone == 1).sum() > 0
        np.testing.assert_array_equal(both == 0, alone == 0)

    def test_feature_map_smaller_than_the_image(self):
        """GluonCV cuts the lattice where ``ashape`` ends; the rule is the same."""
        anchors = PYRAMIDS["fpn"].array(128, 128)
        boxes = make_boxes("mixed", 10, 300, 200, anchors)
        judge("fpn", boxes, 300, 200, shape=(128, 128))

    def test_float_size(self):
        boxes = make_boxes("uniform", 4, 200, 300, PYRAMIDS["small"].array(200, 300))
        judge("small", boxes, 199.5, 300.25, shape=(200, 300))

    def test_shuffled_anchors(self):
        """Anchors need not be in any order; each keeps its own target."""
        rng = np.random.RandomState(1)
        array = PYRAMIDS["fpn"].array(120, 90)
        array = array[rng.permutation(len(array))]
        boxes = make_boxes("mixed", 9, 120, 90, array)
        ours, theirs = RPNTargetGenerator(), GluonCVGenerator()
        helpers.run_both(
            lambda: ours(boxes, array, 90, 120),
            lambda: theirs(mx.nd.array(boxes), mx.nd.array(array), 90, 120),
        )

    @pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 129])
    def test_few_arbitrary_anchors(self, count):
        """Any boxes can be anchors: without area, off the lattice, duplicated."""
        for kind in MAKERS:
            array = make_boxes(kind, count, 90, 120, PYRAMIDS["small"].array(90, 120), seed=1)
            boxes = make_boxes("mixed", 5, 90, 120, array, seed=2)
            ours, theirs = RPNTargetGenerator(9), GluonCVGenerator(9)
            helpers.run_both(
                lambda: ours(boxes, array, 120, 90),  # noqa: B023
                lambda: theirs(mx.nd.array(boxes), mx.nd.array(array), 120, 90),  # noqa: B023
            )

    def test_extreme_coordinates(self):
        """Far away and enormous, as long as the area fits into float32."""
        boxes = np.array(
            [[-1e18, -1e18, 1e18, 1e18], [1e9, 1e9, 1e9, 1e9], [-3e9, 5, 3e9, 6], [0, 0, 1e-30, 1],
             [3, 3, 3.0000002, 90], [1e-20, 1e-20, 2e-20, 2e-20], [10, 20, 60, 70]],
            np.float32,
        )  # fmt: skip
        for name in PYRAMIDS:
            judge(name, boxes, 150, 170, num_sample=10**9)
            for box in boxes:
                judge(name, box[None], 150, 170, num_sample=10**9)

    @pytest.mark.slow
    @settings(max_examples=1500)
    @given(
        pyramid=st.sampled_from(sorted(PYRAMIDS)),
        height=st.one_of(st.integers(16, 80), st.integers(16, 420)),
        width=st.one_of(st.integers(16, 80), st.integers(16, 420)),
        kind=st.sampled_from(sorted(MAKERS)),
        count=st.one_of(st.just(1), st.integers(1, 6), st.integers(1, 60)),
        options=st.sampled_from(SETTINGS),
        seed=st.integers(0, 2**31),
    )
    def test_anything(self, pyramid, height, width, kind, count, options, seed):
        anchors = PYRAMIDS[pyramid].array(height, width)
        boxes = make_boxes(kind, count, height, width, anchors, seed)
        judge(pyramid, boxes, height, width, seed % 1000, **options)


class TestPlainLoops:
    @settings(max_examples=60)
    @given(
        pyramid=st.sampled_from(["small", "odd"]),
        height=st.integers(16, 70),
        width=st.integers(16, 70),
        kind=st.sampled_from(sorted(MAKERS)),
        count=st.integers(1, 4),
        options=st.sampled_from(SETTINGS),
        border=st.sampled_from([0, 0, 3, 0.5, 1000]),
        seed=st.integers(0, 2**31),
    )
    def test_lattice(self, pyramid, height, width, kind, count, options, border, seed):
        array = PYRAMIDS[pyramid].array(height, width)
        boxes = make_boxes(kind, count, height, width, array, seed)
        options = dict(options, allowed_border=border)
        generator = RPNTargetGenerator(**options)
        lattice = PYRAMIDS[pyramid].lattice(height, width)
        helpers.run_both(
            lambda: generator(boxes, lattice, width, height),
            lambda: [np.array(x) for x in naive.targets(array, boxes, width, height, **options)],
            seed % 1000,
        )
