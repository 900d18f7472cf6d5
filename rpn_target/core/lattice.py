"""Anchors on a lattice: the base boxes of a level, repeated at every cell of its feature map.

A *level* is one feature map of the pyramid (C4 models have one, FPN models five). Its *lattice*
holds A anchors per cell, ``base + stride * (column, row)``, so its anchors are known from two
small tables: the x corners per base box and column, and the y corners per base box and row.
Nothing in this module has the size of N.

Anchors are numbered as GluonCV concatenates them: by level, then row, column and base box.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Sequence

import numpy as np

from .boxes import (
    MARGIN,
    Overlaps,
    intersection_over_area,
    intersection_over_union,
    largest_per_box,
    with_margin,
)
from .valid import ValidAnchors
from .windows import anchors_in_windows, iof_windows, iou_windows, nearest_overlap

__all__ = ["AnchorLattice", "Level", "base_boxes", "level_slices"]


def base_boxes(
    stride: float, base_size: float, ratios: Sequence[float], scales: Sequence[float]
) -> np.ndarray:
    """Return the anchors of the cell at the origin as corner boxes, ratios outermost.

    The recipe is that of the Faster R-CNN reference code, which GluonCV follows: take the square
    of a cell with its sides counted inclusively, give it each aspect ratio (height over width,
    rounding both to whole pixels), then enlarge it about its center so that ``scale`` 1 stands
    for a side of ``base_size``.

    Returns
    -------
    np.ndarray of shape (len(ratios) * len(scales), 4), float64
    """
    ratio = np.asarray(ratios, np.float64)
    scale = np.asarray(scales, np.float64) * base_size / stride
    widths = np.round(np.sqrt(stride * stride / ratio))
    sizes = np.stack([widths, np.round(widths * ratio)], axis=-1)  # (R, 2)
    half = 0.5 * (sizes[:, None] * scale[:, None] - 1)  # (R, S, 2)
    center = 0.5 * (stride - 1)
    return np.concatenate([center - half, center + half], axis=-1).reshape(-1, 4)


def level_slices(shapes: Sequence[tuple[int, int]], depths: Sequence[int]) -> list[slice]:
    """Return where each level's anchors are among all N, for feature maps (height, width)."""
    sizes = [height * width * depth for (height, width), depth in zip(shapes, depths)]
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes)]


STRIDE_MARGIN = 1e-3  # of a stride, for the rounding of corners to float32


class Level:
    """The lattice of one level, as far as the feature map may reach.

    Parameters
    ----------
    base : np.ndarray of shape (A, 4), float64
        Corner boxes of the anchors of the cell at the origin.
    stride : float
        Pixels from one cell to the next.
    x, y : np.ndarray of shape (A, columns, 2) and (A, rows, 2), float32, optional
        The corners (xmin, xmax) and (ymin, ymax) already known, where the lattice was read from
        a network; columns and rows beyond them are computed from ``base``.

    Attributes
    ----------
    known : (int, int)
        How many rows and columns were given.
    """

    def __init__(
        self, base: Any, stride: float, x: np.ndarray | None = None, y: np.ndarray | None = None
    ):
        base = np.asarray(base, np.float64)
        if base.ndim != 2 or base.shape[1] != 4 or not len(base) or not np.isfinite(base).all():
            raise ValueError(f"base must hold finite boxes of shape (A, 4), but got {base}")
        if (base[:, 2:] < base[:, :2]).any():
            raise ValueError(f"base boxes must have xmin <= xmax and ymin <= ymax, but got {base}")
        if not (np.isfinite(stride) and stride > 0):
            raise ValueError(f"stride must be finite and above 0, but got {stride}")
        nothing = np.zeros((len(base), 0, 2), np.float32)
        self.base = base
        self.stride = float(stride)
        self._x = nothing if x is None else x
        self._y = nothing if y is None else y
        self.known = self._y.shape[1], self._x.shape[1]

    @classmethod
    def read(cls, anchors: np.ndarray) -> Level | None:
        """Return the level that has these anchors (H, W, A, 4), or None where they are no lattice.

        On a lattice, x corners are the same in every row and y corners in every column, and both
        grow by the stride from cell to cell, but for the rounding to float32. Cells beyond H and W
        are right if the stride is a whole number.
        """
        height, width, depth = anchors.shape[:3]
        if height * width < 2 or not np.isfinite(anchors).all():
            return None
        x, y = anchors[0, :, :, 0::2], anchors[:, 0, :, 1::2]  # (W, A, 2), (H, A, 2)
        longer = x if width > 1 else y
        with np.errstate(over="ignore"):
            stride = float(longer[-1, 0, 0] - longer[0, 0, 0]) / (len(longer) - 1)
            if abs(round(stride) - stride) <= STRIDE_MARGIN * stride:
                stride = float(round(stride))
            if not 0 < stride < np.inf:
                return None
            for corners in (x, y):
                steps = stride * np.arange(len(corners))[:, None, None]
                if not (np.abs(corners - corners[0] - steps) <= STRIDE_MARGIN * stride).all():
                    return None
        flat = anchors.reshape(height, width * depth, 4)
        if not all((flat[..., side] == flat[0, :, side]).all() for side in (0, 2)):
            return None
        if not all((flat[:, depth:, side] == flat[:, :-depth, side]).all() for side in (1, 3)):
            return None
        if (anchors[0, 0, :, 2:] < anchors[0, 0, :, :2]).any():
            return None
        return cls(anchors[0, 0], stride, *(part.transpose(1, 0, 2).copy() for part in (x, y)))

    @property
    def anchors_per_cell(self) -> int:
        """A, the number of base boxes."""
        return len(self.base)

    def tables(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the corners (A, width, 2) in x and (A, height, 2) in y of a feature map."""
        # Threads may both extend: either result is right, and the larger one need not win.
        x, y = self._x, self._y
        if width > x.shape[1]:
            self._x = x = self._extend(x, self.base[:, 0::2], width)
        if height > y.shape[1]:
            self._y = y = self._extend(y, self.base[:, 1::2], height)
        return x[:, :width], y[:, :height]

    def _extend(self, known: np.ndarray, base: np.ndarray, length: int) -> np.ndarray:
        # GluonCV adds in float64 and rounds once, to float32; so do we.
        shifts = self.stride * np.arange(known.shape[1], length)
        more = (base[:, None] + shifts[:, None]).astype(np.float32)
        return np.concatenate([known, more], axis=1)


class AnchorLattice:
    """All anchors of an image: the lattice of every level, cropped to its feature map.

    Parameters
    ----------
    levels : sequence of Level
        Finest first.
    shapes : sequence of (int, int)
        Height and width of each level's feature map, in cells.

    Attributes
    ----------
    shapes : tuple of (int, int)
        As given.
    depths : tuple of int
        Anchors per cell of each level.
    row_first : np.ndarray, int64
        The number of the first anchor in each row of all feature maps.
    rows, columns, depth, first, level : np.ndarray of shape (K,), int64
        For each of the K base boxes of all levels: the size of its feature map, the anchors per
        cell, the number of its first anchor, and its level.
    x_start, y_start : np.ndarray of shape (K,), int64
        Where its corners start in the tables.
    xmin, xmax, ymin, ymax : np.ndarray, float32
        The tables, all base boxes behind each other.
    """

    def __init__(self, levels: Sequence[Level], shapes: Sequence[tuple[int, int]]):
        if len(levels) != len(shapes):
            raise ValueError(f"{len(levels)} levels need as many shapes, but got {shapes}")
        if not len(levels) or min(min(shape) for shape in shapes) < 1:
            raise ValueError(f"every feature map needs at least one cell, but got {shapes}")
        self._valid: tuple[tuple[float, float, float], ValidAnchors] | None = None
        self.shapes = tuple((int(height), int(width)) for height, width in shapes)
        self.depths = tuple(level.anchors_per_cell for level in levels)
        self._slices = level_slices(self.shapes, self.depths)
        self._size = self._slices[-1].stop
        self.level_first = np.asarray([part.start for part in self._slices])

        self.level = np.repeat(np.arange(len(levels)), self.depths)
        self.depth = np.asarray(self.depths)[self.level]
        self.rows, self.columns = np.asarray(self.shapes, np.int64).reshape(-1, 2)[self.level].T
        self.stride = np.asarray([level.stride for level in levels])[self.level]
        self.base = np.concatenate([level.base for level in levels])
        self.level_base = np.cumsum((0,) + self.depths)  # the first base box of each level
        self.first = self.level_first[self.level] + np.arange(len(self.base))
        self.first -= self.level_base[self.level]

        row_length = np.repeat(
            [width * depth for (_, width), depth in zip(self.shapes, self.depths)],
            [height for height, _ in self.shapes],
        )
        self.row_first = np.cumsum(row_length) - row_length

        tables = [level.tables(h, w) for level, (h, w) in zip(levels, self.shapes)]
        x = np.concatenate([x.reshape(-1, 2) for x, _ in tables])
        y = np.concatenate([y.reshape(-1, 2) for _, y in tables])
        self.xmin, self.xmax = np.ascontiguousarray(x.T)
        self.ymin, self.ymax = np.ascontiguousarray(y.T)
        self.x_start = np.cumsum(self.columns) - self.columns
        self.y_start = np.cumsum(self.rows) - self.rows

    @classmethod
    def crop(cls, levels: tuple[Level, ...], shapes: tuple[tuple[int, int], ...]) -> AnchorLattice:
        """Return the lattice for these feature maps, one made before if it was made lately."""
        return _crop(cls, levels, shapes)  # type: ignore[arg-type]  # a class is hashable

    def __len__(self) -> int:
        """Return N."""
        return self._size

    def locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the base box (0..K), row and column of the anchors with these numbers."""
        level = np.searchsorted(self.level_first, index, side="right") - 1
        first_base = self.level_base[level]
        cell, base = np.divmod(index - self.level_first[level], self.depth[first_base])
        row, column = np.divmod(cell, self.columns[first_base])
        return base + first_base, row, column

    def row_and_offset(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each anchor's row, over all levels, and how many of the row come before it."""
        row = np.searchsorted(self.row_first, index, side="right") - 1
        return row, index - self.row_first[row]

    def number(self, base: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Return the numbers of the anchors at these base boxes, rows and columns."""
        return self.first[base] + (row * self.columns[base] + column) * self.depth[base]

    def corners(self, index: np.ndarray) -> np.ndarray:
        """Return the corner boxes (K, 4) of the anchors with these numbers, float32."""
        base, row, column = self.locate(index)
        return np.stack(self.corners_at(base, row, column), axis=-1)

    def corners_at(
        self, base: np.ndarray, row: np.ndarray, column: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Return xmin, ymin, xmax, ymax of the anchors at these base boxes, rows and columns."""
        x = self.x_start[base] + column
        y = self.y_start[base] + row
        return self.xmin[x], self.ymin[y], self.xmax[x], self.ymax[y]

    def split(self, array: np.ndarray) -> list[np.ndarray]:
        """Split an array (N, ...) into views (rows, columns, A * ...), one per level."""
        return [array[part].reshape(*shape, -1) for part, shape in zip(self._slices, self.shapes)]

    def valid(self, width: float, height: float, border: float = 0) -> ValidAnchors:
        """Return the valid anchors: those that stick out of the image by no more than a border."""
        key = width, height, border
        cached = self._valid  # read once: threads share the lattice
        if cached is None or cached[0] != key:
            cached = self._valid = key, ValidAnchors(self, width, height, border)
        return cached[1]

    def overlaps(self, boxes: np.ndarray, threshold: float, valid: ValidAnchors) -> Overlaps:
        """Find the valid anchors that overlap a box by a threshold, or best.

        See `rpn_target.core.matcher` for what is returned.
        """
        nearest = nearest_overlap(self, boxes, valid)
        thresholds = with_margin(np.minimum(threshold, nearest.astype(np.float64)))
        windows = iou_windows(self, boxes, thresholds, valid)
        anchor, box, corners = anchors_in_windows(self, windows)
        iou = intersection_over_union(corners, boxes.T[:, box])
        return anchor, box, iou, largest_per_box(box, iou, len(boxes))

    def covered(self, regions: np.ndarray, threshold: float, valid: ValidAnchors) -> np.ndarray:
        """Return the valid anchors, ascending, with this share of their area in some region."""
        # Few regions cover most anchors again and again, so that a mask is smaller than lists.
        covered = np.zeros(len(self), bool)
        levels = self.split(covered)  # views
        windows = iof_windows(self, regions, threshold * (1 - MARGIN), valid)
        for region, base, row, column, rows, columns in zip(*(part.tolist() for part in windows)):
            level = self.level[base]
            window = levels[level][row : row + rows, column : column + columns]
            window = window[..., base - self.level_base[level]]
            if window.all():
                continue
            x, y = self.x_start[base] + column, self.y_start[base] + row
            x, y = slice(x, x + columns), slice(y, y + rows)
            corners = self.xmin[x], self.ymin[y, None], self.xmax[x], self.ymax[y, None]
            share = intersection_over_area(corners, regions[region])
            window |= share >= np.float32(threshold)
        return np.flatnonzero(covered)


@lru_cache(maxsize=32)  # images of a data set come in a few sizes; each entry is some 100 kB
def _crop(kind: Any, levels: tuple[Level, ...], shapes: tuple[tuple[int, int], ...]) -> Any:
    return kind(levels, shapes)
