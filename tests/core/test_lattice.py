"""Anchors: the lattice against GluonCV's, and the valid anchors, by rank."""

import helpers
import numpy as np
import pytest
from helpers import CUBE_ROOT, PYRAMIDS, RATIOS, both_forms, valid_numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target.core.anchor_array import AnchorArray
from rpn_target.core.lattice import AnchorLattice, Level, base_boxes
from rpn_target.core.valid import MaskedAnchors, Remainder

PYRAMID = st.sampled_from(sorted(PYRAMIDS))
SIDE = st.one_of(st.integers(16, 60), st.integers(16, 260))
SEED = st.integers(0, 2**31)
BORDER = st.sampled_from([0, 0, 0.5, 7, 40, 10**6])


class TestLattice:
    @pytest.mark.parametrize("stride, base_size", [(4, 16), (16, 16), (16, 8), (7, 10), (33, 50)])
    @pytest.mark.parametrize("ratios", [(1,), RATIOS, (0.33, 1, 3), (0.1, 7)])
    @pytest.mark.parametrize("scales", [(8,), (2, 4, 8, 16, 32), (1, CUBE_ROOT, CUBE_ROOT**2)])
    def test_equals_gluoncv(self, stride, base_size, ratios, scales):
        pyramid = helpers.Pyramid(((stride, base_size, ratios, scales),))
        lattice = pyramid.lattice(5 * stride, 90 * stride)
        expected = pyramid.array(5 * stride, 90 * stride)
        assert len(lattice) == len(expected)
        corners = lattice.corners(np.arange(len(lattice)))
        assert corners.dtype == np.float32
        np.testing.assert_array_equal(corners, expected)

    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_levels_follow_each_other(self, pyramid):
        array, forms = both_forms(pyramid, 130, 270)
        for anchors in forms:
            np.testing.assert_array_equal(anchors.corners(np.arange(len(anchors))), array)
            some = np.random.RandomState(0).permutation(len(array))[:50]
            np.testing.assert_array_equal(anchors.corners(some), array[some])

    @pytest.mark.parametrize("pyramid", PYRAMIDS)
    def test_locate_and_number(self, pyramid):
        lattice = PYRAMIDS[pyramid].lattice(99, 70)
        index = np.arange(len(lattice))
        base, row, column = lattice.locate(index)
        np.testing.assert_array_equal(lattice.number(base, row, column), index)
        expected = [
            (row, column, base + first)
            for first, (rows, columns), depth in zip(
                np.cumsum([0, *lattice.depths]), lattice.shapes, lattice.depths
            )
            for row in range(rows)
            for column in range(columns)
            for base in range(depth)
        ]
        np.testing.assert_array_equal(np.stack([row, column, base], axis=1), expected)

    def test_split(self):
        lattice = PYRAMIDS["odd"].lattice(66, 100)
        index = np.arange(len(lattice))
        flat = lattice.split(index)
        wide = lattice.split(np.stack([index] * 4, axis=1))
        assert [part.shape for part in flat] == [(9, 13, 9), (4, 5, 2), (2, 4, 2)]
        assert [part.shape for part in wide] == [(9, 13, 36), (4, 5, 8), (2, 4, 8)]
        np.testing.assert_array_equal(np.concatenate([part.ravel() for part in flat]), index)
        for one, other in zip(flat, wide):
            np.testing.assert_array_equal(np.repeat(one, 4, axis=-1), other)
            assert np.shares_memory(one, index)

    def test_a_level_grows_as_needed_and_stays_the_same(self):
        """Sizes asked for in any order give the same corners."""
        base = base_boxes(20, 16, (0.33, 0.7), (CUBE_ROOT,))
        level = Level(base, 20)
        for shape in ((3, 4), (9, 2), (2, 9), (1, 1), (30, 40)):
            fresh = AnchorLattice([Level(base, 20)], [shape])
            index = np.arange(len(fresh))
            np.testing.assert_array_equal(
                AnchorLattice([level], [shape]).corners(index), fresh.corners(index)
            )

    @pytest.mark.parametrize(
        "base, stride, message",
        [
            (np.zeros((0, 4)), 4, r"base must hold finite boxes of shape \(A, 4\)"),
            (np.zeros(4), 4, r"base must hold finite boxes of shape \(A, 4\)"),
            ([[0, 0, np.nan, 1]], 4, "base must hold finite boxes"),
            ([[5, 0, 4, 1]], 4, "base boxes must have xmin <= xmax"),
            ([[0, 0, 1, 1]], 0, "stride must be finite and above 0, but got 0"),
            ([[0, 0, 1, 1]], -3, "stride must be finite and above 0, but got -3"),
            ([[0, 0, 1, 1]], np.inf, "stride must be finite and above 0, but got inf"),
        ],
    )
    def test_refuses_a_bad_level(self, base, stride, message):
        with pytest.raises(ValueError, match=message):
            Level(base, stride)

    def test_refuses_bad_shapes(self):
        level = Level([[0, 0, 8, 8]], 4)
        with pytest.raises(ValueError, match="1 levels need as many shapes"):
            AnchorLattice([level], [(1, 2), (3, 4)])
        for shapes in ([(0, 2)], [(2, 0)], [(-1, 2)]):
            with pytest.raises(ValueError, match="every feature map needs at least one cell"):
                AnchorLattice([level], shapes)
        with pytest.raises(ValueError, match="every feature map needs at least one cell"):
            AnchorLattice([], [])


class TestInside:
    @pytest.mark.parametrize("pyramid", ["c4", "fpn"])
    def test_no_valid_anchor(self, pyramid):
        _, forms = both_forms(pyramid, 16, 16)
        for anchors in forms:
            valid = anchors.valid(16, 16)
            assert len(valid) == 0
            assert valid.select(np.arange(0)).shape == (0,)
            assert valid.rank(np.arange(0)).shape == (0,)

    @settings(max_examples=120)
    @given(pyramid=PYRAMID, height=SIDE, width=SIDE, border=BORDER, seed=SEED)
    def test_ranks_and_selects(self, pyramid, height, width, border, seed):
        array, forms = both_forms(pyramid, height, width)
        expected = valid_numbers(array, height, width, border)
        order = np.random.RandomState(seed).permutation(len(expected))
        for anchors in forms:
            valid = anchors.valid(width, height, border)
            assert len(valid) == len(expected)
            np.testing.assert_array_equal(valid.select(np.arange(len(expected))), expected)
            np.testing.assert_array_equal(valid.rank(expected), np.arange(len(expected)))
            np.testing.assert_array_equal(valid.select(order), expected[order])
            np.testing.assert_array_equal(valid.rank(expected[order]), order)

    @settings(max_examples=60)
    @given(pyramid=PYRAMID, height=SIDE, width=SIDE, share=st.floats(0, 1), seed=SEED)
    def test_remainder(self, pyramid, height, width, share, seed):
        _, forms = both_forms(pyramid, height, width)
        for anchors in forms:
            valid = anchors.valid(width, height)
            numbers = valid.select(np.arange(len(valid)))
            removed = np.random.RandomState(seed).rand(len(numbers)) < share
            left = Remainder(valid, numbers[removed])
            assert len(left) == (~removed).sum()
            ranks = np.arange(len(left))
            np.testing.assert_array_equal(left.select(ranks), numbers[~removed])
            np.testing.assert_array_equal(left.select(ranks[::-1]), numbers[~removed][::-1])

    def test_threads_do_not_mix_up_sizes(self):
        """Images of different size can share a lattice, and threads work on several at once."""
        lattice = PYRAMIDS["small"].lattice(64, 64)
        expected = len(lattice.valid(64, 60))
        assert expected != len(lattice.valid(49, 60))

        class Interrupted(float):
            """A width that lets another thread in whenever it is looked at."""

            def __eq__(self, other):
                lattice.valid(49, 60)
                return float(self) == float(other)

            __hash__ = float.__hash__

        lattice.valid(64, 60)
        assert len(lattice.valid(Interrupted(64), 60)) == expected

    def test_index(self):
        valid = MaskedAnchors(np.array([False, True, True, False, True]))
        assert len(valid) == 3
        np.testing.assert_array_equal(valid.select(np.array([2, 0])), [4, 1])
        np.testing.assert_array_equal(valid.rank(np.array([4, 1])), [2, 0])

    def test_border_by_hand(self):
        """Anchors of 8 x 8 every 8 pixels, the image 24 wide and 16 high."""
        lattice = AnchorLattice([Level([[0, 0, 8, 8], [-4, 0, 4, 8]], 8)], [(2, 3)])
        cases = {  # per row and column, whether each of the two is valid
            0: [[(1, 0), (1, 1), (0, 1)], [(0, 0)] * 3],  # xmax 24 and ymax 16 reach the edge
            1: [[(1, 0), (1, 1), (1, 1)]] * 2,
            3.9: [[(1, 0), (1, 1), (1, 1)]] * 2,
            4: [[(1, 1), (1, 1), (1, 1)]] * 2,
        }
        for border, expected in cases.items():
            for anchors in (lattice, AnchorArray(lattice.corners(np.arange(12)))):
                valid = anchors.valid(24, 16, border)
                numbers = valid.select(np.arange(len(valid)))
                np.testing.assert_array_equal(numbers, np.flatnonzero(np.ravel(expected)))
