"""The matcher: which anchors are positive and negative, and which box each positive stands for.

This is the rule of GluonCV's sampler, before anything is drawn. An anchor's IoU is its largest
over the boxes; where boxes tie, it matches the one in the lowest row. In float32:

1. an anchor whose IoU with some box is the box's largest over all anchors is positive, near-ties
   within float32 epsilon included: a low-quality match;
2. an anchor with IoU ``>= pos_iou_thresh`` is positive;
3. an anchor with IoU ``< neg_iou_thresh`` is negative, even where step 1 made it positive;
4. all others, and all that are not valid (see `rpn_target.core.valid`), are ignored.

`match_anchors` applies it to anchors and boxes. Only anchors with IoU ``>= neg_iou_thresh`` need
be known one by one; the anchors, lattice or array, find them with their method
``overlaps(boxes, threshold, valid)``. An *overlap* is a pair of an anchor and a box with their
IoU. The method returns three arrays with one entry per overlap (the anchor's number, the box's
row, the IoU) and, per box, its largest IoU over all valid anchors. Among the overlaps are all that
reach the threshold or tie with the best of their box; there may be others.

`match_ious` applies the rule to a matrix of IoUs that the caller has computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Tuple

import numpy as np

from .boxes import EPSILON, Overlaps, intersection_over_union, ties
from .settings import TargetSettings, shown
from .valid import MaskedAnchors, Ranked, Remainder

__all__ = ["Anchors", "Matching", "check_ious", "match_anchors", "match_ious"]

PAIRS_AT_ONCE = 1 << 17  # of an anchor and a box, where all are computed
BOXES_AT_ONCE = 128  # in a search: bounds the memory whatever M is
CACHED = 1 << 19  # bytes of a block of a matrix: a processor's cache keeps them
MOST_ROWS = 1 << 14  # of a block, where there are few boxes
FEW_BOXES = 24  # up to which a block is turned, so that its columns are contiguous

PerAnchor = Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Anchors(Protocol):
    """What the matcher needs of the N anchors of an image; a lattice and an array have it."""

    def __len__(self) -> int: ...
    def corners(self, index: np.ndarray) -> np.ndarray: ...  # noqa: D102
    def valid(self, width: float, height: float, border: float = 0) -> Any: ...  # noqa: D102
    def overlaps(self, boxes: np.ndarray, threshold: float, valid: Any) -> Overlaps: ...  # noqa: D102
    def covered(self, regions: np.ndarray, threshold: float, valid: Any) -> np.ndarray: ...  # noqa: D102


class Matching(NamedTuple):
    """The outcome for one image."""

    positives: np.ndarray
    """(P,) int64, numbers of the positive anchors, ascending."""
    matches: np.ndarray
    """(P,) int64, the row of the box each of them overlaps most."""
    negatives: Ranked
    """The negative anchors, found by rank and not listed."""


def match_anchors(
    anchors: Anchors,
    boxes: np.ndarray,
    width: float,
    height: float,
    settings: TargetSettings,
    ignore: np.ndarray | None = None,
) -> Matching:
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
    valid = anchors.valid(width, height, settings.allowed_border)
    nothing = np.zeros(0, np.int64)
    if not len(valid) and len(boxes) and settings.low_quality_matches == "gluoncv":
        # With every IoU at -1, every anchor ties with the best.
        everything = np.arange(len(anchors))
        return Matching(everything, np.zeros_like(everything), valid)
    if not len(valid) or not len(boxes):
        positives, matches, others = nothing, nothing, nothing
    elif np.float32(settings.neg_iou_thresh) <= 0:
        return _match_without_negatives(anchors, boxes, valid, settings)
    else:
        positives, matches, others = _search(anchors, boxes, valid, settings)
    if ignore is not None and len(ignore):
        covered = anchors.covered(ignore, settings.ignore_iof_thresh, valid)
        others = np.union1d(others, covered)
    return Matching(positives, matches, Remainder(valid, others))


def _search(
    anchors: Anchors, boxes: np.ndarray, valid: Any, settings: TargetSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positives and their matches, and all valid anchors that are not negative."""
    negative = np.float32(settings.neg_iou_thresh)
    found, lowest = _search_some(anchors, boxes[:BOXES_AT_ONCE], valid, settings)
    for start in range(BOXES_AT_ONCE, len(boxes), BOXES_AT_ONCE):
        part = boxes[start : start + BOXES_AT_ONCE]
        (anchor, match, *rest), lowest_of_part = _search_some(anchors, part, valid, settings)
        both = zip(found, (anchor, match + start, *rest))
        anchor, match, iou, low_quality = (np.concatenate(arrays) for arrays in both)
        found = _per_anchor(anchor, match, iou, low_quality, len(boxes))
        lowest = min(lowest, lowest_of_part)
    anchor, match, iou, low_quality = found
    candidate = iou >= negative
    if settings.low_quality_matches == "gluoncv":
        # If the best of a box is below epsilon, even anchors that do not meet the box tie with it.
        low_quality |= lowest < EPSILON
        low_quality &= candidate
    elif settings.low_quality_matches == "keep":
        candidate |= low_quality
        # Below the threshold, an overlap with another box may be larger and not be known.
        low = np.flatnonzero(low_quality & (iou < negative))
        for piece in _in_pieces(low, len(boxes)):
            match[piece] = _all_overlaps(anchors, anchor[piece], boxes).argmax(axis=1)
    chosen = low_quality | (iou >= np.float32(settings.pos_iou_thresh))
    return anchor[chosen], match[chosen], anchor[candidate]


def _search_some(
    anchors: Anchors, boxes: np.ndarray, valid: Any, settings: TargetSettings
) -> tuple[PerAnchor, np.float32]:
    """Return the anchors that matter to these boxes, and the lowest of the boxes' largest IoUs."""
    negative = np.float32(settings.neg_iou_thresh)
    anchor, box, iou, best_of_box = anchors.overlaps(boxes, float(negative), valid)
    low_quality = is_low_quality(iou, best_of_box[box], settings)
    kept = np.flatnonzero(low_quality | (iou >= negative))
    overlaps = anchor[kept], box[kept], iou[kept], low_quality[kept]
    del anchor, box, iou, low_quality  # most of the memory, if the threshold is low
    return _per_anchor(*overlaps, len(boxes)), best_of_box.min()


def is_low_quality(iou: np.ndarray, best: np.ndarray, settings: TargetSettings) -> np.ndarray:
    """Tell which overlaps make their anchor positive by being the best of their box.

    This is where ties are broken: GluonCV takes near-ties within float32 epsilon, other libraries
    ("keep") only equal IoUs.
    """
    if settings.low_quality_matches == "drop":
        return np.zeros(iou.shape, bool)
    if settings.low_quality_matches == "keep":
        return (iou == best) & (iou > 0)
    return ties(iou, best)


def _in_pieces(rows: np.ndarray, boxes: int) -> list[np.ndarray]:
    """Split rows, or an array of their numbers, into pieces for a matrix of all their overlaps.

    Together with ``boxes`` boxes, each has some `PAIRS_AT_ONCE` pairs at most, so that memory stays
    the same whatever the number of boxes.
    """
    return np.array_split(rows, max(1, -(-len(rows) * boxes // PAIRS_AT_ONCE)))


def _all_overlaps(anchors: Anchors, number: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the IoU (K, M) of every box with the anchors of these numbers."""
    return intersection_over_union(anchors.corners(number).T[:, :, None], boxes.T[:, None])


def _per_anchor(
    anchor: np.ndarray, box: np.ndarray, iou: np.ndarray, low_quality: np.ndarray, boxes: int
) -> PerAnchor:
    """Reduce overlaps to the largest of each anchor.

    Returns
    -------
    anchor, match : np.ndarray of shape (K,), int64
        Number of the anchor (ascending), and the lowest row of the boxes it overlaps most.
    iou : np.ndarray of shape (K,), float32
    low_quality : np.ndarray of shape (K,), bool
        Whether one of the anchor's overlaps is a low-quality match.
    """
    if not len(anchor):
        return anchor, box, iou, low_quality
    # Sorting by anchor, then by box, makes the first of the largest the lowest row.
    order = np.argsort(anchor * boxes + box, kind="stable")
    anchor, box, iou = anchor[order], box[order], iou[order]
    is_first = np.ones(len(anchor), bool)
    np.not_equal(anchor[1:], anchor[:-1], out=is_first[1:])
    first = np.flatnonzero(is_first)
    largest = np.maximum.reduceat(iou, first)
    is_largest = np.flatnonzero(iou == largest[np.cumsum(is_first) - 1])
    match = box[is_largest[np.searchsorted(is_largest, first)]]
    return anchor[first], match, largest, np.logical_or.reduceat(low_quality[order], first)


def _match_without_negatives(
    anchors: Anchors, boxes: np.ndarray, valid: Any, settings: TargetSettings
) -> Matching:
    """Apply the rule at ``neg_iou_thresh`` 0, where every valid anchor may be positive.

    The exact way without any search: all IoUs, in pieces, once for the best of each box and once
    more for the anchors.
    """
    number = valid.select(np.arange(len(valid)))
    pieces = _in_pieces(number, len(boxes))
    best_of_box = np.max(
        [_all_overlaps(anchors, piece, boxes).max(axis=0) for piece in pieces], axis=0
    )
    matches, chosen = [], []
    for piece in pieces:
        iou = _all_overlaps(anchors, piece, boxes)
        matches.append(iou.argmax(axis=1))
        low_quality = is_low_quality(iou, best_of_box, settings).any(axis=1)
        chosen.append(low_quality | (iou.max(axis=1) >= np.float32(settings.pos_iou_thresh)))
    positive = np.concatenate(chosen)
    nothing = MaskedAnchors(np.zeros(0, bool))
    return Matching(number[positive], np.concatenate(matches)[positive], nothing)


def check_ious(ious: Any) -> np.ndarray:
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


def match_ious(ious: np.ndarray, settings: TargetSettings) -> tuple[Matching, np.ndarray]:
    """Apply the rule to a matrix of IoUs.

    An anchor that is not valid has an IoU of -1 with every box. Any other negative number is taken
    for what it is, as GluonCV does.

    Parameters
    ----------
    ious : np.ndarray of shape (N, M)
        With M = 0, every anchor is negative (GluonCV crashes).
    settings : TargetSettings

    Returns
    -------
    matching : Matching
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
        everything = MaskedAnchors(np.ones(count, bool))
        return Matching(nothing, nothing, everything), np.zeros(count, np.int64)
    rows = max(1, min(MOST_ROWS, CACHED // (boxes * ious.itemsize)))  # of a block
    with np.errstate(invalid="ignore"):  # a NaN, which is refused
        matches, best, best_in_block = _largest(ious, rows)
        has_nan = np.isnan(best_in_block.max())
    if has_nan:
        row = int(np.flatnonzero(np.isnan(best))[0])
        raise ValueError(f"ious must not hold NaN, but row {row} is {shown(ious[row].tolist())}")
    negative = (best >= 0) & (best < settings.neg_iou_thresh)
    positive = best >= settings.pos_iou_thresh
    # In GluonCV's rule, what is negative stays so.
    some = ~negative if settings.low_quality_matches == "gluoncv" else np.ones(count, bool)
    low_quality = _low_quality_rows(ious, some, best, best_in_block, rows, settings)
    positive[low_quality] = True
    negative[low_quality] = False
    positives = np.flatnonzero(positive)
    return Matching(positives, matches[positives], MaskedAnchors(negative)), matches


def _largest(ious: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the largest of every row, and of every column of each block of rows.

    Returns
    -------
    matches : np.ndarray of shape (N,), int64
        The first column that holds the row's largest number.
    best : np.ndarray of shape (N,)
        That number, NaN where the row has one.
    best_in_block : np.ndarray of shape (blocks, M)
        The largest number of each column in each block, NaN where the column has one.
    """
    count, boxes = ious.shape
    matches = np.zeros(count, np.int64)
    best = np.empty(count, ious.dtype)
    best_in_block = np.empty((-(-count // rows), boxes), ious.dtype)
    few = min(boxes, FEW_BOXES)
    turned = np.empty((few, rows), ious.dtype)
    is_best = np.empty((few, rows), bool)
    # The first of several columns counts most, so that the largest weight names it.
    weights = np.arange(few, 0, -1).astype(np.uint8)[:, None]
    for block, start in enumerate(range(0, count, rows)):
        part = ious[start : start + rows]
        here = slice(start, start + len(part))
        if boxes == 1:
            best[here] = part[:, 0]
            best_in_block[block] = part.max(axis=0)
        elif boxes <= FEW_BOXES:
            # Along contiguous columns NumPy is some ten times as fast as along short rows.
            columns, equal = turned[:, : len(part)], is_best[:, : len(part)]
            np.copyto(columns, part.T)
            columns.max(axis=0, out=best[here])
            columns.max(axis=1, out=best_in_block[block])
            np.equal(columns, best[here], out=equal)
            weight = equal.view(np.uint8)
            np.multiply(weight, weights, out=weight)
            np.subtract(boxes, weight.max(axis=0), out=matches[here], dtype=np.int64)
        else:
            part.argmax(axis=1, out=matches[here])
            largest = np.arange(0, part.size, boxes) + matches[here]
            # All are in range; "raise", the default, would write to a buffer first.
            part.reshape(-1).take(largest, out=best[here], mode="clip")
            best_in_block[block] = _largest_of_columns(part)
    return matches, best, best_in_block


def _largest_of_columns(part: np.ndarray) -> np.ndarray:
    """Return ``part.max(axis=0)``, by halves: whole blocks of memory instead of rows."""
    while len(part) > 16:
        half = len(part) // 2
        rest = part[2 * half :]
        part = np.maximum(part[:half], part[half : 2 * half])
        if len(rest):
            np.maximum(part[:1], rest, out=part[:1])
    return part.max(axis=0)


def _low_quality_rows(
    ious: np.ndarray,
    some: np.ndarray,
    best: np.ndarray,
    best_in_block: np.ndarray,
    rows: int,
    settings: TargetSettings,
) -> np.ndarray:
    """Return which rows of a matrix, among some (N,), are low-quality matches; they ascend.

    A box's best is looked for only in the blocks that hold it, there only in rows that reach it.
    """
    best_of_box = best_in_block.max(axis=0)
    holds_best = is_low_quality(best_in_block, best_of_box, settings)
    found = [np.zeros(0, np.int64)]
    for block in np.flatnonzero(holds_best.any(axis=1)):
        box = np.flatnonzero(holds_best[block])
        start = block * rows
        here = slice(start, start + rows)
        lowest = best_of_box[box].min()
        reaches = (best[here] >= lowest) | ties(best[here], lowest)
        row = start + np.flatnonzero(reaches & some[here])
        tied = is_low_quality(ious[row[:, None], box], best_of_box[box], settings)
        found.append(row[tied.any(axis=1)])
    return np.concatenate(found)
