"""Assignment from a dense matrix of IoUs, for callers that have computed one.

The rule is that of `rpn_target.core.matcher`. Here an anchor that is not valid has an IoU of -1
with every box, and any other negative number is taken for what it is, as GluonCV does.
"""

from __future__ import annotations

import numpy as np

from .matcher import Assignment, in_pieces, low_quality
from .overlaps import EPSILON
from .settings import TargetSettings
from .valid import IndexInside

__all__ = ["assign_dense", "check_ious"]


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
