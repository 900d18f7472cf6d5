"""Assignment: which anchors are positive and negative, and which box each positive stands for.

This is the rule of GluonCV's sampler, before anything is drawn. Written for an anchor's IoU (its
largest over the boxes, ties to the lowest row) and in float32:

1. an anchor whose IoU with some box is the box's largest over all anchors is positive, near-ties
   within float32 epsilon included (the "low-quality matches" of other libraries);
2. an anchor with IoU ``>= pos_iou_thresh`` is positive;
3. an anchor with IoU ``< neg_iou_thresh`` is negative, even where step 1 made it positive;
4. all others, and all that are not valid (see `rpn_target.core.valid`), are ignored.

So only anchors with IoU ``>= neg_iou_thresh`` need be known one by one. The anchors, lattice or
array, find them with their method ``overlaps(boxes, threshold, inside)``. It returns three arrays
with one entry per overlap (the anchor's number, the box's row, the IoU) and, per box, its largest
IoU over all valid anchors. Among the overlaps are all that reach the threshold or tie with the
best of their box; others may be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .boxes import EPSILON, intersection_over_union, ties
from .settings import TargetSettings
from .valid import IndexInside, Remainder

__all__ = ["Assignment", "assign", "assign_dense", "check_ious"]

PAIRS_AT_ONCE = 1 << 17  # of an anchor and a box, where all are computed
BOXES_AT_ONCE = 128  # in a search: bounds the memory whatever M is


class Assignment(NamedTuple):
    """The outcome for one image."""

    positives: np.ndarray
    """(P,) int64, numbers of the positive anchors, ascending."""
    matches: np.ndarray
    """(P,) int64, the row of the box each of them overlaps most."""
    negatives: object
    """The negative anchors, ranked: has ``len()`` and ``select(ranks)``, and no list of them."""


def assign(
    anchors, boxes, width: float, height: float, settings: TargetSettings, ignore=None
) -> Assignment:
    """Apply the rule to the anchors and ground-truth boxes of one image.

    Parameters
    ----------
    anchors : AnchorLattice or AnchorArray
        The N anchors.
    boxes : np.ndarray of shape (M, 4), float32
        Valid corner boxes. With M = 0 every valid anchor is negative (GluonCV crashes).
    width, height : float
        Size of the image in pixels.
    settings : TargetSettings
        Its ``low_quality_matches`` changes steps 1 and 3: "keep" makes step 1 win where an anchor
        shares some area with the box it is the best of, "drop" leaves step 1 out.
    ignore : np.ndarray of shape (K, 4), float32, optional
        Regions of the image; an anchor with at least ``ignore_iof_thresh`` of its area in one of
        them is no negative.
    """
    inside = anchors.inside(width, height, settings.allowed_border)
    nothing = np.zeros(0, np.int64)
    if not len(inside) and len(boxes) and settings.low_quality_matches == "gluoncv":
        # With every IoU at -1, every anchor ties with the best.
        everything = np.arange(len(anchors))
        return Assignment(everything, np.zeros_like(everything), inside)
    if not len(inside) or not len(boxes):
        positives, matches, others = nothing, nothing, nothing
    elif np.float32(settings.neg_iou_thresh) <= 0:
        return _assign_without_negatives(anchors, boxes, inside, settings)
    else:
        positives, matches, others = _search(anchors, boxes, inside, settings)
    if ignore is not None and len(ignore):
        covered = anchors.covered(ignore, settings.ignore_iof_thresh, inside)
        others = np.union1d(others, covered)
    return Assignment(positives, matches, Remainder(inside, others))


def _search(anchors, boxes, inside, settings: TargetSettings):
    """Return positives and their matches, and all valid anchors that are not negative."""
    negative = np.float32(settings.neg_iou_thresh)
    found, lowest = _search_some(anchors, boxes[:BOXES_AT_ONCE], inside, settings)
    for start in range(BOXES_AT_ONCE, len(boxes), BOXES_AT_ONCE):
        part = boxes[start : start + BOXES_AT_ONCE]
        (anchor, match, *rest), lowest_of_part = _search_some(anchors, part, inside, settings)
        both = map(np.concatenate, zip(found, (anchor, match + start, *rest)))
        found = _per_anchor(*both, len(boxes))
        lowest = min(lowest, lowest_of_part)
    anchor, match, iou, forced = found
    candidate = iou >= negative
    if settings.low_quality_matches == "gluoncv":
        # If the best of a box is below epsilon, even anchors that do not meet the box tie with it.
        forced |= lowest < EPSILON
        forced &= candidate
    elif settings.low_quality_matches == "keep":
        candidate |= forced
        # Below the threshold, an overlap with another box may be larger and not be known.
        low = np.flatnonzero(forced & (iou < negative))
        for piece in in_pieces(low, len(boxes)):
            match[piece] = _all_overlaps(anchors, anchor[piece], boxes).argmax(axis=1)
    chosen = forced | (iou >= np.float32(settings.pos_iou_thresh))
    return anchor[chosen], match[chosen], anchor[candidate]


def _search_some(anchors, boxes, inside, settings: TargetSettings):
    """Return the anchors that matter to these boxes, and the lowest of the boxes' largest IoUs."""
    negative = np.float32(settings.neg_iou_thresh)
    anchor, box, iou, best_of_box = anchors.overlaps(boxes, float(negative), inside)
    forced = low_quality(iou, best_of_box[box], settings)
    kept = np.flatnonzero(forced | (iou >= negative))
    overlaps = anchor[kept], box[kept], iou[kept], forced[kept]
    del anchor, box, iou, forced  # most of the memory, if the threshold is low
    return _per_anchor(*overlaps, len(boxes)), best_of_box.min()


def low_quality(iou: np.ndarray, best: np.ndarray, settings: TargetSettings) -> np.ndarray:
    """Tell which overlaps make their anchor positive by being the best of their box."""
    if settings.low_quality_matches == "drop":
        return np.zeros(iou.shape, bool)
    if settings.low_quality_matches == "keep":
        return ties(iou, best) & (iou > 0)
    return ties(iou, best)


def in_pieces(rows: np.ndarray, boxes: int) -> list[np.ndarray]:
    """Split rows, or an array of their numbers, into pieces for a matrix of all their overlaps.

    Together with ``boxes`` boxes, each has some `PAIRS_AT_ONCE` pairs at most, so that memory stays
    the same whatever the number of boxes.
    """
    return np.array_split(rows, max(1, -(-len(rows) * boxes // PAIRS_AT_ONCE)))


def _all_overlaps(anchors, number: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the IoU (K, M) of the anchors with these numbers with every box."""
    return intersection_over_union(anchors.corners(number).T[:, :, None], boxes.T[:, None])


def _per_anchor(anchor, box, iou, forced, boxes: int):
    """Reduce overlaps to one entry per anchor, ascending: number, match, IoU, forced."""
    if not len(anchor):
        return anchor, box, iou, forced
    # Sorting by anchor, then by box, makes the first of the largest the lowest row.
    order = np.argsort(anchor * boxes + box, kind="stable")
    anchor, box, iou = anchor[order], box[order], iou[order]
    is_first = np.ones(len(anchor), bool)
    np.not_equal(anchor[1:], anchor[:-1], out=is_first[1:])
    first = np.flatnonzero(is_first)
    largest = np.maximum.reduceat(iou, first)
    is_largest = np.flatnonzero(iou == largest[np.cumsum(is_first) - 1])
    match = box[is_largest[np.searchsorted(is_largest, first)]]
    return anchor[first], match, largest, np.logical_or.reduceat(forced[order], first)


def _assign_without_negatives(anchors, boxes, inside, settings: TargetSettings) -> Assignment:
    """Apply the rule at ``neg_iou_thresh`` 0, where every valid anchor may be positive.

    The exact way without any search: all IoUs, in pieces, once for the best of each box and once
    more for the anchors.
    """
    number = inside.select(np.arange(len(inside)))
    pieces = in_pieces(number, len(boxes))
    best_of_box = [_all_overlaps(anchors, piece, boxes).max(axis=0) for piece in pieces]
    best_of_box = np.max(best_of_box, axis=0)
    matches, chosen = [], []
    for piece in pieces:
        iou = _all_overlaps(anchors, piece, boxes)
        matches.append(iou.argmax(axis=1))
        forced = low_quality(iou, best_of_box, settings).any(axis=1)
        chosen.append(forced | (iou.max(axis=1) >= np.float32(settings.pos_iou_thresh)))
    chosen = np.concatenate(chosen)
    nothing = IndexInside(np.zeros(0, bool))
    return Assignment(number[chosen], np.concatenate(matches)[chosen], nothing)


def check_ious(ious) -> np.ndarray:
    """Check a matrix of IoUs and return it as an array.

    Raises
    ------
    TypeError
        If the dtype is not a real number.
    ValueError
        If the shape is not (N, M), or a value is NaN.
    """
    ious = np.asarray(ious)
    if ious.dtype.kind not in "fiu":
        raise TypeError(f"ious must hold real numbers, but its dtype is {ious.dtype}")
    if ious.ndim != 2:
        raise ValueError(f"ious must have shape (N, M), but its shape is {ious.shape}")
    return ious


def assign_dense(ious: np.ndarray, settings: TargetSettings) -> tuple[Assignment, np.ndarray]:
    """Apply the rule to a matrix of IoUs.

    Parameters
    ----------
    ious : np.ndarray of shape (N, M)
        With M = 0, every anchor is negative (GluonCV crashes).
    settings : TargetSettings

    Returns
    -------
    assignment : Assignment
    matches : np.ndarray of shape (N,), int64
        The box each anchor overlaps most, ties to the lowest row; 0 where there is no box.

    Raises
    ------
    ValueError
        If a value is NaN.
    """
    count, boxes = ious.shape
    if not count or not boxes:
        nothing = np.zeros(0, np.int64)
        everything = IndexInside(np.ones(count, bool))
        return Assignment(nothing, nothing, everything), np.zeros(count, np.int64)
    matches = ious.argmax(axis=1)
    best = ious[np.arange(count), matches]
    if np.isnan(best).any():  # argmax finds a NaN before any number
        row = int(np.flatnonzero(np.isnan(best))[0])
        raise ValueError(f"ious must not hold NaN, but row {row} is {ious[row].tolist()}")

    # From here on only rows that may be positive are looked at; most are negative or not valid.
    negative = (best >= 0) & (best < settings.neg_iou_thresh)
    candidates = np.flatnonzero(best >= settings.neg_iou_thresh)
    best_of_box = _best_of_box(ious, candidates, settings.neg_iou_thresh)
    rows = candidates
    if settings.low_quality_matches == "gluoncv":
        # A row below 0 can tie only with a box that is below 0 itself, or by a rounding error.
        lowest = -2 * EPSILON if (best_of_box >= 0).all() else -np.inf
        below = np.flatnonzero((best < 0) & (best > lowest))
        rows = np.union1d(candidates, below) if len(below) else candidates
    elif settings.low_quality_matches == "keep":
        low = np.flatnonzero(best_of_box < settings.neg_iou_thresh + 4 * EPSILON)
        tied = [
            low_quality(piece[:, low], best_of_box[low], settings).any(axis=1)
            for piece in in_pieces(ious, boxes)
        ]
        rows = np.union1d(candidates, np.flatnonzero(np.concatenate(tied)))
    forced = [
        low_quality(ious[piece], best_of_box, settings).any(axis=1)
        for piece in in_pieces(rows, boxes)
    ]
    positives = rows[np.concatenate(forced) | (best[rows] >= settings.pos_iou_thresh)]
    negative[positives] = False
    return Assignment(positives, matches[positives], IndexInside(negative)), matches


def _best_of_box(ious: np.ndarray, candidates: np.ndarray, threshold: float) -> np.ndarray:
    """Return the largest IoU (M,) of each box.

    From the threshold on it is found in a candidate row, so only boxes without one are looked
    for in all rows.
    """
    boxes = ious.shape[1]
    if not len(candidates):
        return ious.max(axis=0)
    best = [ious[piece].max(axis=0) for piece in in_pieces(candidates, boxes)]
    best = np.max(best, axis=0)
    short = np.flatnonzero(best < threshold)
    if len(short):
        pieces = in_pieces(ious, boxes)
        best[short] = np.max([piece[:, short].max(axis=0) for piece in pieces], axis=0)
    return best
