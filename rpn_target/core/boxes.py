"""Corner boxes: what a valid one is, how much two of them overlap, and when two overlaps tie.

A corner box is ``(xmin, ymin, xmax, ymax)`` in float32 pixels, with width ``xmax - xmin`` (no
``+ 1``), as in GluonCV. Arithmetic follows the order of operations of MXNet's ``box_iou``, so
that results are equal bit for bit, not just close.
"""

from __future__ import annotations

from typing import Any, Sequence, Tuple, Union

import numpy as np

__all__ = [
    "EPSILON",
    "MARGIN",
    "Corners",
    "Overlaps",
    "area",
    "bad_boxes",
    "check_boxes",
    "intersection",
    "intersection_over_area",
    "intersection_over_union",
    "largest_per_box",
    "ties",
    "with_margin",
]

Corners = Union[Sequence[np.ndarray], np.ndarray]
"""Four broadcastable float32 arrays: xmin, ymin, xmax, ymax."""

Overlaps = Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pairs of an anchor and a box: the anchor's number (P,), the box's row (P,) and their IoU (P,);
and the largest IoU (M,) of every box over all valid anchors."""

EPSILON = np.spacing(np.float32(1))
"""IoUs this close to the best of their box count as the best, as in GluonCV."""

MARGIN = 1e-3
"""Searches start this share of a threshold below it."""

LEAST_THRESHOLD = 1e-3


def check_boxes(
    boxes: Any, name: str = "bbox", where: str = "", count: str = "M", scale: float = 1.0
) -> np.ndarray:
    """Check corner boxes and return them as float32.

    Parameters
    ----------
    boxes : array-like of shape (M, 4), numeric
        Corner boxes; an empty sequence counts as shape (0, 4).
    name : str
        What the caller names the argument, for the message.
    where : str
        What the boxes belong to (such as the image size), for the message.
    count : str
        The letter for the number of boxes, for the message.
    scale : float
        See `bad_boxes`.

    Returns
    -------
    np.ndarray of shape (M, 4), float32
        The same memory where no conversion is needed.

    Raises
    ------
    TypeError
        If the dtype is not a real number.
    ValueError
        If the shape is wrong, a box has ``xmax < xmin`` or ``ymax < ymin``, or a value or an
        area is not finite in float32.
    """
    array = np.asarray(boxes)
    if array.size == 0 and array.ndim == 1:
        return np.zeros((0, 4), np.float32)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}{where}")
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(
            f"{name} must have shape ({count}, 4), but its shape is {array.shape}{where}"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    bad = bad_boxes(array, scale)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{name} must hold finite corner boxes (xmin, ymin, xmax, ymax) with xmin <= xmax "
            f"and ymin <= ymax, but row {row} is {array[row].tolist()}{where}"
        )
    return array


def bad_boxes(boxes: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Tell which corner boxes (M, 4) are not finite, are inverted, or overflow; bool (M,).

    A box whose area overflows float32 counts as bad: its IoU would be NaN. So does one that would
    overflow if it were enlarged by ``scale``, which is at least 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        xmin, ymin, xmax, ymax = (boxes if scale == 1 else boxes * np.float32(scale)).T
        width, height = xmax - xmin, ymax - ymin
        # A corner that is not finite makes a side, and so the area, infinite or NaN.
        return ~((width >= 0) & (height >= 0) & np.isfinite(width * height))


def area(boxes: Corners) -> np.ndarray:
    """Return width times height of corner boxes given as four arrays."""
    xmin, ymin, xmax, ymax = boxes
    return (xmax - xmin) * (ymax - ymin)


def intersection(a: Corners, b: Corners) -> np.ndarray:
    """Return the area two sets of corner boxes share, 0 where they do not meet.

    ``a`` and ``b`` are four float32 arrays each, broadcast against each other.
    """
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    return width * height


def intersection_over_union(anchors: Corners, boxes: Corners) -> np.ndarray:
    """Return the IoU of anchors with ground-truth boxes, as ``mx.nd.contrib.box_iou`` rounds it.

    Parameters
    ----------
    anchors, boxes : four float32 arrays each
        Corner boxes, broadcast against each other.

    Returns
    -------
    np.ndarray, float32
        ``i / (area_a + area_b - i)`` where the intersection ``i`` is above 0, else 0.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shared = intersection(anchors, boxes)
        union = area(anchors) + area(boxes)
        union -= shared
        iou = np.divide(shared, union, out=union)
    iou[shared <= 0] = 0
    return iou


def intersection_over_area(anchors: Corners, regions: Corners) -> np.ndarray:
    """Return the share of each anchor that a region covers (IoF), 0 for anchors without area."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shared = intersection(anchors, regions)
        share = shared / area(anchors)
    share[shared <= 0] = 0
    return share


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
