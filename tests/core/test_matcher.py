"""Matching and sampling: overlaps against brute force, the rule against plain loops."""

import helpers
import naive
import numpy as np
import pytest
from helpers import MAKERS, PYRAMIDS, both_forms, make_boxes, valid_numbers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rpn_target.core.anchor_array import AnchorArray
from rpn_target.core.boxes import intersection_over_union
from rpn_target.core.draws import GlobalDraws
from rpn_target.core.matcher import match_anchors
from rpn_target.core.sampler import sample
from rpn_target.core.settings import TargetSettings

PYRAMID = st.sampled_from(sorted(PYRAMIDS))
SIDE = st.one_of(st.integers(16, 60), st.integers(16, 260))
KIND = st.sampled_from(sorted(MAKERS))
SEED = st.integers(0, 2**31)
BORDER = st.sampled_from([0, 0, 0.5, 7, 40, 10**6])
THRESHOLD = st.sampled_from([0, 1e-6, 1e-5, 1e-3, 0.05, 0.3, 0.5, 0.9, 1])


class TestOverlaps:
    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_no_boxes(self, pyramid):
        _, forms = both_forms(pyramid, 100, 100)
        for anchors in forms:
            valid = anchors.valid(100, 100)
            found = anchors.overlaps(np.zeros((0, 4), np.float32), 0.3, valid)
            assert [len(part) for part in found] == [0, 0, 0, 0]

    @settings(max_examples=150)
    @given(
        pyramid=PYRAMID, height=SIDE, width=SIDE, kind=KIND, count=st.integers(1, 12),
        border=BORDER, threshold=st.one_of(THRESHOLD, st.floats(0, 1)), seed=SEED,
    )  # fmt: skip
    @example("odd", 17, 16, "between", 7, 7, 0.763671875, 1)  # a best just below the threshold
    def test_nothing_is_missed(self, pyramid, height, width, kind, count, border, threshold, seed):
        """All valid anchors from the threshold on are found, and all best ones, with their IoU."""
        array, forms = both_forms(pyramid, height, width)
        boxes = make_boxes(kind, count, height, width, array, seed)
        threshold = float(np.float32(threshold))
        iou = intersection_over_union(array.T[:, :, None], boxes.T[:, None])  # (N, M)
        is_valid = np.zeros(len(array), bool)
        is_valid[valid_numbers(array, height, width, border)] = True
        iou[~is_valid] = -1
        best = np.maximum(iou.max(axis=0), 0)
        wanted = (iou > 0) & ((iou >= threshold) | (iou + naive.EPSILON > best))
        for anchors in forms:
            with helpers.strict():
                valid = anchors.valid(width, height, border)
                anchor, box, value, best_of_box = anchors.overlaps(boxes, threshold, valid)
            assert value.dtype == best_of_box.dtype == np.float32
            np.testing.assert_array_equal(best_of_box, best)
            np.testing.assert_array_equal(value, iou[anchor, box])
            assert is_valid[anchor].all()
            assert len(np.unique(anchor * count + box)) == len(anchor)
            found = np.zeros_like(wanted)
            found[anchor, box] = True
            assert not (wanted & ~found).any()

    def test_near_ties_of_small_overlaps(self):
        """At small IoUs epsilon is a large share: a best of 100 epsilons has ties 1 % below."""
        anchors = np.zeros((2, 4), np.float32) + [0, 0, 8, 8]
        anchors[1, 0] = 2.0**-4  # less wide, and so less is shared
        for height in (2.0**-12, 2.0**-11, 2.0**-10, 2.0**-9):
            box = np.array([[0, 8 - height, 8, 16]], np.float32)
            best, other = (naive.iou(anchor, box[0]) for anchor in anchors)
            assert 0.99 * best < other < 0.999 * best
            threshold = float(best)
            array = AnchorArray(anchors)
            found, _, _, largest = array.overlaps(box, threshold, array.valid(9, 9))
            np.testing.assert_array_equal(largest, [best])
            assert set(found) >= ({0, 1} if other + naive.EPSILON > best else {0})

    def test_windows_are_small(self):
        """What is computed grows with what is found, not with the number of anchors."""
        lattice = PYRAMIDS["fpn"].lattice(800, 1333)
        boxes = make_boxes("uniform", 10, 800, 1333, PYRAMIDS["fpn"].array(64, 64))
        _, _, iou, _ = lattice.overlaps(boxes, 0.3, lattice.valid(1333, 800))
        assert 0 < len(iou) < 3 * (iou >= np.float32(0.3)).sum()


class TestMatchAnchors:
    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_no_boxes(self, pyramid):
        array, forms = both_forms(pyramid, 120, 200)
        for anchors in forms:
            nothing = np.zeros((0, 4), np.float32)
            positives, matches, negatives = match_anchors(
                anchors, nothing, 200, 120, TargetSettings()
            )
            assert len(positives) == len(matches) == 0
            numbers = negatives.select(np.arange(len(negatives)))
            np.testing.assert_array_equal(numbers, valid_numbers(array, 120, 200))

    @settings(max_examples=60)
    @given(
        pyramid=st.sampled_from(["small", "odd"]), height=st.integers(16, 80),
        width=st.integers(16, 80), kind=KIND, count=st.integers(1, 5), border=BORDER,
        thresholds=st.tuples(THRESHOLD, THRESHOLD).map(sorted), seed=SEED,
    )  # fmt: skip
    def test_plain_loops(self, pyramid, height, width, kind, count, border, thresholds, seed):
        array, forms = both_forms(pyramid, height, width)
        boxes = make_boxes(kind, count, height, width, array, seed)
        neg, pos = thresholds
        options = TargetSettings(pos_iou_thresh=pos, neg_iou_thresh=neg, allowed_border=border)
        rows = naive.iou_matrix(array, boxes, width, height, border)
        codes, best = (np.array(part) for part in naive.label(rows, pos, neg))
        expected = np.flatnonzero(codes == naive.POSITIVE)
        for anchors in forms:
            with helpers.strict():
                positives, matches, negatives = match_anchors(
                    anchors, boxes, width, height, options
                )
            np.testing.assert_array_equal(positives, expected)
            np.testing.assert_array_equal(matches, best[expected])
            numbers = negatives.select(np.arange(len(negatives)))
            np.testing.assert_array_equal(numbers, np.flatnonzero(codes == naive.NEGATIVE))

    @settings(max_examples=60)
    @given(
        pyramid=PYRAMID, height=SIDE, width=SIDE, kind=KIND, count=st.integers(1, 100),
        thresholds=st.tuples(THRESHOLD, THRESHOLD).map(sorted), seed=SEED,
    )  # fmt: skip
    def test_array_and_lattice_agree(self, pyramid, height, width, kind, count, thresholds, seed):
        array, forms = both_forms(pyramid, height, width)
        boxes = make_boxes(kind, count, height, width, array, seed)
        options = TargetSettings(pos_iou_thresh=thresholds[1], neg_iou_thresh=thresholds[0])
        one, other = (match_anchors(anchors, boxes, width, height, options) for anchors in forms)
        np.testing.assert_array_equal(one.positives, other.positives)
        np.testing.assert_array_equal(one.matches, other.matches)
        np.testing.assert_array_equal(
            *(each.negatives.select(np.arange(len(each.negatives))) for each in (one, other))
        )


class TestSampling:
    def test_nothing_to_draw(self):
        _, (lattice, _) = both_forms("c4", 16, 16)
        state = helpers.random_states()
        options = TargetSettings()
        kept = sample(
            match_anchors(lattice, np.zeros((0, 4)), 16, 16, options), options, GlobalDraws()
        )
        assert [len(part) for part in kept] == [0, 0, 0]
        assert state == helpers.random_states()

    def test_matches_stay_with_their_anchors(self):
        """Whatever is drawn, an anchor keeps the box it had before."""
        array, (lattice, _) = both_forms("fpn", 200, 260)
        boxes = make_boxes("uniform", 20, 200, 260, array)
        everything = match_anchors(lattice, boxes, 260, 200, TargetSettings(pos_iou_thresh=0.5))
        match_of = dict(zip(everything.positives, everything.matches))
        assert len(match_of) > 10
        for seed in range(5):
            helpers.seed_all(seed)
            kept = sample(everything, TargetSettings(num_sample=20), GlobalDraws())
            assert len(kept.positives) == 10 and len(kept.negatives) == 10
            assert len({*kept.positives, *kept.negatives}) == 20
            assert [match_of[anchor] for anchor in kept.positives] == kept.matches.tolist()
