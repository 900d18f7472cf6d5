"""The lattice method: where anchors that overlap a box enough can be, found without looking.

An IoU of at least t between an anchor and a box means an intersection of at least
``t * (area_a + area_b) / (1 + t)``. It is no higher than the lower of the two, so the overlap in
x is at least that over ``min(height_a, height_b)``, and on a lattice this is an interval of
columns; likewise an interval of rows. The window of rows and columns is a superset of the anchors
looked for, and a small one: the exact float32 IoU is then computed for those only.

The best anchor of a box is known without looking, too: along a lattice the overlap rises and
falls symmetrically, so of each base box it is the valid one nearest to the box's center.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .boxes import area, intersection_over_union

if TYPE_CHECKING:
    from .lattice import AnchorLattice
    from .valid import ValidAnchors

__all__ = ["Windows", "anchors_in_windows", "iof_windows", "iou_windows", "nearest_overlap"]

# Float32 corners are off by some 1e-4 of a cell at most, and areas by some 1e-6 of themselves.
CELL_MARGIN = 1e-2
AREA_MARGIN = 1e-4


class Windows(NamedTuple):
    """Rectangles of cells, one for each pair of a box and a base box that may overlap enough."""

    box: np.ndarray  # (P,) row of the box, ascending
    base: np.ndarray  # (P,) base box
    row: np.ndarray  # (P,) first row
    column: np.ndarray  # (P,) first column
    rows: np.ndarray  # (P,) number of rows, above 0
    columns: np.ndarray  # (P,) number of columns, above 0


def iou_windows(
    lattice: AnchorLattice, boxes: np.ndarray, thresholds: np.ndarray, valid: ValidAnchors
) -> Windows:
    """Find where the valid anchors are whose IoU with a box may reach the box's threshold.

    Parameters
    ----------
    lattice : AnchorLattice
    boxes : np.ndarray of shape (M, 4), float32
    thresholds : np.ndarray of shape (M,), float64
        At 0, every anchor that shares some area with the box is found.
    valid : ValidAnchors
        The windows are cut to its rows and columns.
    """
    share = (thresholds / (1 + thresholds))[:, None]
    areas = area(boxes.astype(np.float64).T)[:, None] + area(lattice.base.T)
    return _find_windows(lattice, boxes, share * areas, valid)


def iof_windows(
    lattice: AnchorLattice, regions: np.ndarray, threshold: float, valid: ValidAnchors
) -> Windows:
    """Find where the valid anchors are that may have this share of their area in a region."""
    needed = np.broadcast_to(threshold * area(lattice.base.T), (len(regions), len(lattice.base)))
    return _find_windows(lattice, regions, needed, valid)


def _find_windows(
    lattice: AnchorLattice, boxes: np.ndarray, shared: np.ndarray, valid: ValidAnchors
) -> Windows:
    """Find where valid anchors may share a given area (M, K) with a box, by box and base box."""
    xmin, ymin, xmax, ymax = boxes.astype(np.float64).T[:, :, None]  # (M, 1) each
    base_xmin, base_ymin, base_xmax, base_ymax = lattice.base.T  # (K,) each
    narrower = np.minimum(xmax - xmin, base_xmax - base_xmin)  # (M, K)
    lower = np.minimum(ymax - ymin, base_ymax - base_ymin)
    fits = (shared <= narrower * lower * (1 + AREA_MARGIN)) & (narrower > 0) & (lower > 0)
    box, base = np.nonzero(fits)  # (P,)
    shared = shared[box, base]
    left, columns = _interval(
        xmin[box, 0], xmax[box, 0], base_xmin[base], base_xmax[base], shared / lower[box, base],
        lattice.stride[base], valid.left[base], valid.right[base],
    )  # fmt: skip
    top, rows = _interval(
        ymin[box, 0], ymax[box, 0], base_ymin[base], base_ymax[base], shared / narrower[box, base],
        lattice.stride[base], valid.top[base], valid.bottom[base],
    )  # fmt: skip
    found = np.flatnonzero((columns > 0) & (rows > 0))
    return Windows(*(array[found] for array in (box, base, top, left, rows, columns)))


def _interval(
    low: np.ndarray,
    high: np.ndarray,
    base_low: np.ndarray,
    base_high: np.ndarray,
    needed: np.ndarray,
    stride: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first column, or row, in [begin, end) that overlaps enough, and how many do.

    The base interval ``(base_low, base_high)``, shifted by a multiple of the stride, must share
    at least ``needed`` with ``(low, high)``.
    """
    # Cut before rounding, so that far-away boxes do not overflow whole numbers.
    first = np.maximum((low + needed - base_high) / stride - CELL_MARGIN, begin)
    first = np.ceil(np.minimum(first, end)).astype(np.int64)
    last = np.minimum((high - needed - base_low) / stride + CELL_MARGIN, end - 1)
    last = np.floor(np.maximum(last, begin - 1)).astype(np.int64)
    return first, last - first + 1


def anchors_in_windows(
    lattice: AnchorLattice, windows: Windows
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """List the anchors in all windows.

    Returns
    -------
    anchor, box : np.ndarray of shape (P,), int64
        Number of the anchor, and row of the box (ascending).
    corners : four np.ndarray of shape (P,), float32
    """
    counts = windows.rows * windows.columns
    window = np.repeat(np.arange(len(counts)), counts)
    cell = np.arange(len(window)) - np.repeat(np.cumsum(counts) - counts, counts)
    row, column = np.divmod(cell, windows.columns[window])
    row += windows.row[window]
    column += windows.column[window]
    base = windows.base[window]
    corners = lattice.corners_at(base, row, column)
    return lattice.number(base, row, column), windows.box[window], corners


def nearest_overlap(lattice: AnchorLattice, boxes: np.ndarray, valid: ValidAnchors) -> np.ndarray:
    """Return the largest IoU (M,) of each box with the valid anchors nearest to its center.

    Up to rounding this is its largest IoU over all valid anchors; 0 where it meets none.
    """
    xmin, ymin, xmax, ymax = boxes.astype(np.float64).T[:, :, None]  # (M, 1) each
    base_xmin, base_ymin, base_xmax, base_ymax = lattice.base.T  # (K,) each
    step = 0.5 / lattice.stride
    column = np.rint((xmin + xmax - (base_xmin + base_xmax)) * step)  # (M, K)
    row = np.rint((ymin + ymax - (base_ymin + base_ymax)) * step)
    column = np.maximum(np.minimum(column, valid.right - 1), valid.left).astype(np.int64)
    row = np.maximum(np.minimum(row, valid.bottom - 1), valid.top).astype(np.int64)
    # A base box without valid cells may point behind the tables' end; it is left out below.
    x = np.minimum(lattice.x_start + column, len(lattice.xmin) - 1)
    y = np.minimum(lattice.y_start + row, len(lattice.ymin) - 1)
    anchors = lattice.xmin[x], lattice.ymin[y], lattice.xmax[x], lattice.ymax[y]
    iou = intersection_over_union(anchors, boxes.T[:, :, None])
    iou[:, (valid.left >= valid.right) | (valid.top >= valid.bottom)] = 0
    return iou.max(axis=1)
