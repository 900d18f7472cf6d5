"""Anchors that are just an array: any (N, 4) corner boxes, in any order.

Neighbors in the array are usually neighbors in the image, so anchors are taken in blocks: the
bounds of a block (how far its anchors reach, how small they are) tell which boxes none of them
can overlap enough. Only the other blocks are computed. An array without any order is just slower.
"""

from __future__ import annotations

import numpy as np

from .boxes import (
    area,
    check_boxes,
    intersection,
    intersection_over_area,
    intersection_over_union,
    largest_per_box,
    ties,
    with_margin,
)
from .valid import IndexInside

__all__ = ["AnchorArray"]

BLOCK = 64  # anchors: few enough to be close together, enough to be worth a vector operation
PAIRS_AT_ONCE = 1 << 15  # of a box and an anchor: bounds the memory whatever N and M are
BOXES_AT_ONCE = 8  # in searches from a low IoU on, which may find many anchors per box


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

    def __init__(self, anchors, where: str = ""):
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

    def inside(self, width: float, height: float, border: float = 0) -> IndexInside:
        """Return the valid anchors: those that stick out of the image by no more than a border."""
        xmin, ymin, xmax, ymax = self._corners
        near = np.float32(-border)
        valid = (xmin >= near) & (ymin >= near)
        valid &= xmax < np.float32(width + border)
        valid &= ymax < np.float32(height + border)
        valid[self._size :] = False
        return IndexInside(valid)

    def overlaps(self, boxes: np.ndarray, threshold: float, inside: IndexInside):
        """Find the valid anchors that overlap a box by a threshold, or best.

        See `rpn_target.core.matcher` for what is returned.
        """
        everything = np.arange(len(boxes))
        best, overlaps = self._best(boxes, everything, np.full(len(boxes), threshold), inside)
        parts = [overlaps]
        # Where a box's best anchor is below the threshold, it is looked for once more, from an
        # IoU on that some anchor is known to have.
        todo = np.flatnonzero(best < threshold)
        for start in range(0, len(todo), BOXES_AT_ONCE):
            rows = todo[start : start + BOXES_AT_ONCE]
            known = self._some_overlap(boxes[rows], inside)
            best[rows], (anchor, box, iou) = self._best(boxes, rows, known, inside)
            kept = ties(iou, best[box])
            parts.append((anchor[kept], box[kept], iou[kept]))
        return (*(np.concatenate(arrays) for arrays in zip(*parts)), best)

    def covered(self, regions: np.ndarray, threshold: float, inside: IndexInside) -> np.ndarray:
        """Return the valid anchors, ascending, with this share of their area in some region."""
        covered = np.zeros(len(inside.mask), bool)
        for region in regions:
            covered |= intersection_over_area(self._corners, region) >= np.float32(threshold)
        return np.flatnonzero(covered & inside.mask)

    def _best(self, boxes, rows, levels, inside):
        """Return the largest IoU of some rows of the boxes, and the overlaps from levels on."""
        anchor, box, iou = self._above(boxes[rows], with_margin(levels), inside)
        return largest_per_box(box, iou, len(rows)), (anchor, rows[box], iou)

    def _above(self, boxes: np.ndarray, levels: np.ndarray, inside: IndexInside):
        """Return all overlaps of valid anchors with an IoU above 0 and of at least a level."""
        valid = inside.mask.reshape(-1, BLOCK)
        levels = levels.astype(np.float32)
        bound = self._bound(boxes, valid)
        box_of_pair, block_of_pair = np.nonzero((bound >= levels[:, None]) & (bound > 0))
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
        step = PAIRS_AT_ONCE // BLOCK
        for start in range(0, len(box_of_pair), step):
            box = box_of_pair[start : start + step]
            block = block_of_pair[start : start + step]
            iou = intersection_over_union(
                self._blocks.take(block, 1), boxes.T.take(box, 1)[..., None]
            )
            enough = np.flatnonzero((iou >= levels[box, None]) & (iou > 0) & valid.take(block, 0))
            pair, place = np.divmod(enough, BLOCK)
            found.append((block[pair] * BLOCK + place, box[pair], iou.ravel()[enough]))
        return tuple(np.concatenate(parts) for parts in zip(*found))

    def _some_overlap(self, boxes: np.ndarray, inside: IndexInside) -> np.ndarray:
        """Return for each box the largest IoU (m,) in the block that promises most."""
        valid = inside.mask.reshape(-1, BLOCK)
        block = self._bound(boxes, valid).argmax(axis=1)
        iou = intersection_over_union(self._blocks.take(block, 1), boxes.T[:, :, None])
        return np.where(valid[block], iou, 0).max(axis=1)

    def _bound(self, boxes: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return an upper bound (m, blocks) of the IoU of each box with a block's valid anchors."""
        boxes = boxes.T[:, :, None]
        box_area = area(boxes)
        bound = np.empty((boxes.shape[1], len(valid)), np.float32)
        step = max(1, PAIRS_AT_ONCE // max(1, len(valid)))
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
        bound[:, ~valid.any(axis=1)] = 0
        return bound
