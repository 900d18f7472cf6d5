"""Overlaps: what the two ways of finding them, lattice and array, have in common.

An overlap is a pair of an anchor and a box with their IoU, held in three arrays.
"""

from __future__ import annotations

import numpy as np

__all__ = ["EPSILON", "MARGIN", "largest_per_box", "ties", "with_margin"]

EPSILON = np.spacing(np.float32(1))
"""IoUs this close to the best of their box count as the best, as in GluonCV."""

MARGIN = 1e-3
"""Searches start this share of a threshold below it."""

LEAST_THRESHOLD = 1e-3


def ties(iou: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Tell which IoUs tie with the best of their box, in float32."""
    return iou + EPSILON > best


def with_margin(thresholds: np.ndarray) -> np.ndarray:
    """Lower thresholds a little, so that a search finds near-ties and forgives rounding.

    Float32 is off by some 1e-7 of an IoU, and near-ties are some 1e-7 apart: both are far below
    the margin, except for very small thresholds. Those become 0, at which everything that shares
    some area is found.
    """
    return np.where(thresholds >= LEAST_THRESHOLD, thresholds * (1 - MARGIN), 0.0)


def largest_per_box(box: np.ndarray, iou: np.ndarray, count: int) -> np.ndarray:
    """Return the largest IoU (count,) of each box, 0 where it has none; ``box`` must ascend."""
    largest = np.zeros(count, np.float32)
    first = np.searchsorted(box, np.arange(count + 1))
    present = np.flatnonzero(first[:-1] < first[1:])
    if len(present):
        largest[present] = np.maximum.reduceat(iou, first[present])
    return largest
