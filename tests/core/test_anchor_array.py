"""Anchors as an array: which are recognized as a lattice, and that it makes no difference."""

import helpers
import numpy as np
import pytest
from helpers import PYRAMIDS, make_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from rpn_target import RPNTargetGenerator
from rpn_target.core import anchor_array
from rpn_target.core.anchor_array import AnchorArray, read_anchors
from rpn_target.core.lattice import AnchorLattice, Level

SIZES = [(200, 260), (333, 500), (120, 75)]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Start every test without arrays that were recognized before."""
    monkeypatch.setattr(anchor_array, "_kept", ())


def assert_targets(array, height, width, kind="uniform"):
    """Assert that the generator's targets are those of the search through the array."""
    boxes = make_boxes(kind, 6, height, width, array)
    results = []
    for anchors in (array, AnchorArray(array)):
        helpers.seed_all(0)
        results.append(tuple(RPNTargetGenerator()(boxes, anchors, width, height)))
    helpers.assert_same(*results)


class TestRecognized:
    @pytest.mark.parametrize("size", SIZES, ids=str)
    @pytest.mark.parametrize("name", ["c4", "fpn"])
    def test_anchors_of_networks(self, name, size):
        array = PYRAMIDS[name].array(*size)
        lattice = read_anchors(array)
        assert isinstance(lattice, AnchorLattice)
        assert lattice.shapes == PYRAMIDS[name].shapes(*size)
        corners = lattice.corners(np.arange(len(lattice)))
        np.testing.assert_array_equal(corners, array)
        assert corners.dtype == np.float32
        assert_targets(array, *size)

    def test_once_for_each_size(self):
        arrays = [PYRAMIDS["c4"].array(*size) for size in SIZES]
        found = [read_anchors(array) for array in arrays]
        assert [read_anchors(array.copy()) for array in arrays] == found

    def test_few_are_kept(self):
        for side in range(100, 260, 16):
            read_anchors(PYRAMIDS["c4"].array(side, 200))
            assert len(anchor_array._kept) <= anchor_array.MOST_KEPT
        corners, lattice = anchor_array._kept[0]
        assert len(corners) == len(lattice)

    def test_by_hand(self):
        """Two base boxes every 8 pixels, in 2 rows and 3 columns."""
        cells = [(x, y) for y in (0, 8) for x in (0, 8, 16)]
        array = [[x + a, y, x + a + 8, y + 9] for x, y in cells for a in (0, 1)]
        # The second box has the y corners of the first, and looks like its neighbor.
        assert isinstance(read_anchors(np.array(array, np.float32)), AnchorArray)
        array = [[x - a, y - 3 * a, x + 8, y + 9] for x, y in cells for a in (0, 1)]
        lattice = read_anchors(np.array(array, np.float32))
        assert lattice.shapes == ((2, 3),)
        assert lattice.depths == (2,)
        np.testing.assert_array_equal(lattice.base, [[0, 0, 8, 9], [-1, -3, 8, 9]])
        np.testing.assert_array_equal(lattice.stride, [8, 8])


class TestChanged:
    """An array is compared each time: its owner may write to it."""

    @settings(max_examples=60, deadline=None)
    @given(place=st.integers(0, 10**9), corner=st.integers(0, 3), up=st.booleans())
    def test_by_one_ulp(self, place, corner, up):
        array = PYRAMIDS["fpn"].array(120, 160).copy()
        assert isinstance(read_anchors(array), AnchorLattice)
        row = place % len(array)
        before = array[row, corner]
        array[row, corner] = np.nextafter(before, np.float32(np.inf if up else -np.inf))
        anchors = read_anchors(array)
        np.testing.assert_array_equal(anchors.corners(np.arange(len(array))), array)
        assert_targets(array, 120, 160)
        array[row, corner] = before
        assert isinstance(read_anchors(array), AnchorLattice)

    @pytest.mark.parametrize("row", [0, 7, -1])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -1e30, 1e6])
    def test_to_what_is_no_box(self, row, value):
        array = PYRAMIDS["c4"].array(120, 160).copy()
        read_anchors(array)
        array[row, 2 if value < 0 else 0] = value
        with pytest.raises(ValueError, match=f"anchor must hold .* row {row % len(array)} is"):
            read_anchors(array)

    def test_the_kept_array_is_a_copy(self):
        array = PYRAMIDS["c4"].array(120, 160).copy()
        lattice = read_anchors(array)
        expected = lattice.corners(np.arange(len(array)))
        array += 1
        moved = read_anchors(array)
        np.testing.assert_array_equal(lattice.corners(np.arange(len(array))), expected)
        np.testing.assert_array_equal(moved.corners(np.arange(len(array))), array)
        assert_targets(array, 120, 160)


class TestNoLattice:
    def test_any_order(self):
        array = PYRAMIDS["c4"].array(120, 160)
        array = array[np.random.RandomState(0).permutation(len(array))]
        assert isinstance(read_anchors(array), AnchorArray)
        assert_targets(array, 120, 160)

    @pytest.mark.parametrize("count", [1, 2, 5, 100])
    def test_cut_off(self, count):
        array = PYRAMIDS["fpn"].array(120, 160)[:-count]
        np.testing.assert_array_equal(read_anchors(array).corners(np.arange(len(array))), array)
        assert_targets(array, 120, 160)

    @pytest.mark.parametrize("count", [1, 2, 300])
    def test_copies_of_one_anchor(self, count):
        array = np.tile(np.array([[3, 4, 40, 50]], np.float32), (count, 1))
        assert isinstance(read_anchors(array), AnchorArray)
        assert_targets(array, 120, 160)

    @pytest.mark.parametrize("base", [[0, 0, 0, 8], [0, 0, 8, 0], [0, 0, 0, 0]])
    def test_without_area(self, base):
        lattice = AnchorLattice([Level([base], 8)], [(5, 6)])
        assert isinstance(read_anchors(lattice.corners(np.arange(30))), AnchorArray)

    def test_too_small_for_where_they_are(self):
        """Float32 rounds the sides of small anchors far from the origin to other lengths."""
        lattice = AnchorLattice([Level([[5e4, 5e4, 5e4 + 0.1, 5e4 + 0.1]], 8.3)], [(5, 6)])
        assert isinstance(read_anchors(lattice.corners(np.arange(30))), AnchorArray)

    @pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float16])
    def test_other_types_are_searched(self, dtype):
        array = PYRAMIDS["c4"].array(64, 64).astype(dtype)
        assert isinstance(read_anchors(array), AnchorArray)

    def test_empty(self):
        for nothing in (np.zeros((0, 4), np.float32), [], np.zeros(0)):
            assert len(read_anchors(nothing)) == 0


class TestIgnoredRegions:
    """Many large regions take little memory: an anchor is looked at one region at a time."""

    @pytest.mark.parametrize("form", ["lattice", "array"])
    @pytest.mark.parametrize("same", [True, False])
    def test_memory(self, form, same):
        pyramid, height, width = PYRAMIDS["fpn"], 400, 600
        array = pyramid.array(height, width)
        anchors = pyramid.lattice(height, width) if form == "lattice" else AnchorArray(array)
        regions = np.zeros((200, 4), np.float32) + [0, 0, width, height]
        if not same:
            regions += np.random.RandomState(0).randint(-30, 30, regions.shape)
        regions = regions.astype(np.float32)
        valid = anchors.valid(width, height)
        with helpers.peak_memory() as peak:
            found = anchors.covered(regions, 0.5, valid)
        assert peak.bytes < 60 * len(array)
        expected = np.zeros(len(array), bool)
        area = (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])
        for region in regions:
            size = np.minimum(array[:, 2:], region[2:]) - np.maximum(array[:, :2], region[:2])
            expected |= size.clip(0).prod(axis=1, dtype=np.float32) / area >= np.float32(0.5)
        numbers = helpers.valid_numbers(array, height, width)
        np.testing.assert_array_equal(found, numbers[expected[numbers]])
