"""Anchors given as an array (N, 4): recognized where they are a lattice, searched where not.

`read_anchors` takes an array. What GluonCV passes is a lattice all the same, and `AnchorLattice`
is much faster; every corner is compared before one is used.

`AnchorArray` is for all others: any corner boxes, in any order. Neighbors in the array are usually
neighbors in the image, so anchors are taken in blocks: the bounds of a block (how far its anchors
reach, how small they are) tell which boxes none of them can overlap enough. Only the other blocks
are computed. An array without any order is just slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .boxes import (
    Overlaps,
    area,
    bad_boxes,
    check_boxes,
    intersection,
    intersection_over_area,
    intersection_over_union,
    largest_per_box,
    ties,
    with_margin,
)
from .lattice import STRIDE_MARGIN, AnchorLattice, Level
from .valid import MaskedAnchors

__all__ = ["AnchorArray", "read_anchors"]

BLOCK = 64  # anchors: few enough to be close together, enough to be worth a vector operation
PAIRS_AT_ONCE = 1 << 15  # of a box and an anchor: bounds the memory whatever N and M are
MOST_PER_CELL = 256  # anchors
SIDE_MARGIN = 1e-5  # of the side of an anchor, for the rounding of corners to float32
MOST_KEPT = 4  # arrays that were recognized, with a copy of each
BOXES_AT_ONCE = 8  # in searches from a low IoU on, which may find many anchors per box


_kept: tuple[tuple[np.ndarray, AnchorLattice], ...] = ()  # replaced, never changed: threads


def read_anchors(anchors: Any, where: str = "") -> AnchorLattice | AnchorArray:
    """Return anchors in the form in which overlaps are found fastest.

    Parameters
    ----------
    anchors : array-like of shape (N, 4)
        Corner boxes.
    where : str
        What they belong to (such as the image size), for a message.

    Raises
    ------
    TypeError, ValueError
        If they are no valid corner boxes.
    """
    global _kept
    array = np.asarray(anchors)
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != 4 or not len(array):
        return AnchorArray(array, where)
    for corners, lattice in _kept:
        # The last anchor differs where the size of the image does.
        is_near = array.shape == corners.shape and (array[-1] == corners[-1]).all()
        if is_near and np.array_equal(array, corners):
            return lattice
    found = _recognize(array)
    if found is None:
        return AnchorArray(array, where)
    _kept = ((array.copy(), found), *_kept[: MOST_KEPT - 1])
    return found


def _recognize(array: np.ndarray) -> AnchorLattice | None:
    """Return the lattice with exactly these anchors, or None if none is found."""
    levels, shapes, start = [], [], 0
    while start < len(array):
        grid = _first_level(array[start:])
        level = None if grid is None else Level.read(grid)
        if level is None or not _is_precise(level):
            return None
        levels.append(level)
        shapes.append(level.known)
        start += level.known[0] * level.known[1] * level.anchors_per_cell
    return AnchorLattice(levels, shapes)


def _first_level(array: np.ndarray) -> np.ndarray | None:
    """Return the anchors (H, W, A, 4) that may be the level an array begins with."""
    first = array[0]
    with np.errstate(over="ignore", invalid="ignore"):
        shift = array[1 : MOST_PER_CELL + 1] - first
        # The same anchor of the next cell has the same y corners, and both x corners moved.
        is_next = (shift[:, 1] == 0) & (shift[:, 3] == 0) & (shift[:, 0] > 0)
        is_next &= np.abs(shift[:, 2] - shift[:, 0]) <= STRIDE_MARGIN * shift[:, 0]
        if not is_next.any():
            return None
        depth = 1 + int(is_next.argmax())
        stride = shift[depth - 1, 0]
        cells = array[: len(array) // depth * depth : depth]
        columns = _length(cells[:, 1] == first[1])
        rows = cells[: len(cells) // columns * columns : columns]
        expected = first[1] + stride * np.arange(len(rows))
        goes_on = np.abs(rows[:, 1] - expected) <= 2 * STRIDE_MARGIN * stride
        goes_on &= (rows[:, 0] == first[0]) & (rows[:, 2] == first[2])
    height = _length(goes_on)
    return array[: height * columns * depth].reshape(height, columns, depth, 4)


def _length(holds: np.ndarray) -> int:
    """Return how many entries hold before the first that does not."""
    return len(holds) if holds.all() else int(holds.argmin())


def _is_precise(level: Level) -> bool:
    """Tell whether anchors are large enough for the lattice's margins, wherever they are."""
    rows, columns = level.known
    x, y = level.tables(rows, columns)
    for axis, corners in enumerate((x, y)):  # (A, length, 2)
        base = level.base[:, None, axis::2]
        side = base[..., 1] - base[..., 0]  # (A, 1)
        off = np.abs(corners - base - level.stride * np.arange(corners.shape[1])[:, None])
        if not ((side > 0) & (off.max(axis=2) <= SIDE_MARGIN * side)).all():
            return False
    return not bad_boxes(level.base.astype(np.float32)).any()


class AnchorArray:
    """Anchors given as an array of corner boxes.

    Parameters
    ----------
    anchors : array-like of shape (N, 4)
        Corner boxes; converted to float32.
    where : str
        What they belong to (such as the image size), for a message.

    Raises
    ------
    TypeError, ValueError
        If they are no valid corner boxes.
    """

    def __init__(self, anchors: Any, where: str = ""):
        anchors = check_boxes(anchors, "anchor", where, count="N")
        self._size = len(anchors)
        blocks = -(-self._size // BLOCK)
        # The last block is filled up with copies of the last anchor, found invalid below.
        self._corners = np.empty((4, blocks * BLOCK), np.float32)
        self._corners[:, : self._size] = anchors.T
        self._corners[:, self._size :] = anchors[-1:].T
        self._blocks = self._corners.reshape(4, blocks, BLOCK)
        self._reach = np.concatenate(
            [self._blocks[:2].min(axis=-1), self._blocks[2:].max(axis=-1)]
        )  # (4, blocks)
        areas = area(self._blocks)
        self._least_area = areas.min(axis=-1)
        self._most_area = areas.max(axis=-1)

    def __len__(self) -> int:
        """Return N."""
        return self._size

    def corners(self, index: np.ndarray) -> np.ndarray:
        """Return the corner boxes (K, 4) of the anchors with these numbers."""
        return self._corners[:, index].T

    def valid(self, width: float, height: float, border: float = 0) -> MaskedAnchors:
        """Return the valid anchors: those that stick out of the image by no more than a border."""
        xmin, ymin, xmax, ymax = self._corners
        near = np.float32(-border)
        mask = (xmin >= near) & (ymin >= near)
        mask &= xmax < np.float32(width + border)
        mask &= ymax < np.float32(height + border)
        mask[self._size :] = False
        return MaskedAnchors(mask)

    def overlaps(self, boxes: np.ndarray, threshold: float, valid: MaskedAnchors) -> Overlaps:
        """Find the valid anchors that overlap a box by a threshold, or best.

        See `rpn_target.core.matcher` for what is returned.
        """
        everything = np.arange(len(boxes))
        best, overlaps = self._search(boxes, everything, np.full(len(boxes), threshold), valid)
        todo = np.flatnonzero(best < threshold)
        if len(todo):  # found within the search's margin; found again below
            anchor, box, iou = overlaps
            kept = best[box] >= threshold
            overlaps = anchor[kept], box[kept], iou[kept]
        parts = [overlaps]
        # Where a box's best anchor is below the threshold, the box is searched once more, from an
        # IoU that some anchor is known to have.
        for start in range(0, len(todo), BOXES_AT_ONCE):
            rows = todo[start : start + BOXES_AT_ONCE]
            known = self._some_overlap(boxes[rows], valid)
            best[rows], (anchor, box, iou) = self._search(boxes, rows, known, valid)
            kept = ties(iou, best[box])
            parts.append((anchor[kept], box[kept], iou[kept]))
        anchor, box, iou = (np.concatenate(arrays) for arrays in zip(*parts))
        return anchor, box, iou, best

    def covered(self, regions: np.ndarray, threshold: float, valid: MaskedAnchors) -> np.ndarray:
        """Return the valid anchors, ascending, with this share of their area in some region."""
        left = np.flatnonzero(valid.mask)
        found = [left[:0]]
        for region in regions:  # an anchor is looked at until some region covers it
            share = intersection_over_area(self._corners.take(left, 1), region)
            is_covered = share >= np.float32(threshold)
            found.append(left[is_covered])
            left = left[~is_covered]
        return np.sort(np.concatenate(found))

    def _search(
        self, boxes: np.ndarray, rows: np.ndarray, thresholds: np.ndarray, valid: MaskedAnchors
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Search the overlaps of some of the boxes, each from a threshold of its own.

        Parameters
        ----------
        boxes : np.ndarray of shape (M, 4)
        rows : np.ndarray of shape (m,), int64
            Which of the boxes.
        thresholds : np.ndarray of shape (m,)

        Returns
        -------
        best : np.ndarray of shape (m,), float32
            Largest IoU found of each of these boxes, 0 where there is none.
        anchor, box, iou : np.ndarray of shape (P,)
            The overlaps, where ``box`` is a row of ``boxes``.
        """
        anchor, box, iou = self._above(boxes[rows], with_margin(thresholds), valid)
        return largest_per_box(box, iou, len(rows)), (anchor, rows[box], iou)

    def _above(
        self, boxes: np.ndarray, thresholds: np.ndarray, valid: MaskedAnchors
    ) -> tuple[np.ndarray, ...]:
        """Return the overlaps of valid anchors that are above 0 and reach their box's threshold."""
        mask = valid.mask.reshape(-1, BLOCK)
        thresholds = thresholds.astype(np.float32)
        bound = self._bound(boxes, mask)
        box_of_pair, block_of_pair = np.nonzero((bound >= thresholds[:, None]) & (bound > 0))
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
        step = PAIRS_AT_ONCE // BLOCK
        for start in range(0, len(box_of_pair), step):
            box = box_of_pair[start : start + step]
            block = block_of_pair[start : start + step]
            iou = intersection_over_union(
                self._blocks.take(block, 1), boxes.T.take(box, 1)[..., None]
            )
            enough = np.flatnonzero(
                (iou >= thresholds[box, None]) & (iou > 0) & mask.take(block, 0)
            )
            pair, number = np.divmod(enough, BLOCK)
            found.append((block[pair] * BLOCK + number, box[pair], iou.ravel()[enough]))
        return tuple(np.concatenate(parts) for parts in zip(*found))

    def _some_overlap(self, boxes: np.ndarray, valid: MaskedAnchors) -> np.ndarray:
        """Return for each box the largest IoU (m,) in the block that promises most."""
        mask = valid.mask.reshape(-1, BLOCK)
        block = self._bound(boxes, mask).argmax(axis=1)
        iou = intersection_over_union(self._blocks.take(block, 1), boxes.T[:, :, None])
        return np.where(mask[block], iou, 0).max(axis=1)

    def _bound(self, boxes: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return an upper bound (m, blocks) of the IoU of each box with a block's valid anchors."""
        boxes = boxes.T[:, :, None]
        box_area = area(boxes)
        bound = np.empty((boxes.shape[1], len(mask)), np.float32)
        step = max(1, PAIRS_AT_ONCE // max(1, len(mask)))
        for start in range(0, len(bound), step):
            part = slice(start, start + step)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                # Whatever anchor of the block, it shares at most this with the box, ...
                shared = intersection(self._reach[:, None], boxes[:, part])
                np.minimum(shared, self._most_area, out=shared)
                np.minimum(shared, box_area[part], out=shared)
                # ... and has at least this area, so that its IoU is at most this.
                union = np.maximum(self._least_area, shared) + box_area[part] - shared
                np.divide(shared, union, out=bound[part])
            bound[part][shared <= 0] = 0
        bound[:, ~mask.any(axis=1)] = 0
        return bound
