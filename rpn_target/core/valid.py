"""Valid anchors: those that lie inside the image. They are counted and found by rank.

The *rank* of a valid anchor is the count of valid anchors with lower numbers. A lattice finds it
without a list of all anchors. The valid cells of a base box form a rectangle. So the rows of a
level fall into a few *bands*, and all rows of a band have the same valid anchors. Two tables turn
a number into a rank and back: the valid anchors of one row per band, and the count of valid
anchors before each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from .lattice import AnchorLattice

__all__ = ["MaskedAnchors", "ValidAnchors", "Ranked", "Remainder"]


class Ranked(Protocol):
    """A set of anchors that can be counted and found by rank."""

    def __len__(self) -> int: ...
    def select(self, rank: np.ndarray) -> np.ndarray: ...  # noqa: D102


class ValidAnchors:
    """The valid anchors of an `AnchorLattice`.

    An anchor is valid unless ``xmin < -border``, ``ymin < -border``, ``xmax >= width + border``
    or ``ymax >= height + border`` (GluonCV, with a border of 0).

    Attributes
    ----------
    left, right, top, bottom : np.ndarray of shape (K,), int64
        The valid cells of each base box: the columns from ``left`` up to, but without, ``right``,
        and the rows from ``top`` up to, but without, ``bottom``.
    """

    def __init__(self, lattice: AnchorLattice, width: float, height: float, border: float = 0):
        self._lattice = lattice
        near = np.float32(-border)
        self.left, self.right = _span(
            lattice.xmin < near, lattice.xmax < np.float32(width + border), lattice.x_start
        )
        self.top, self.bottom = _span(
            lattice.ymin < near, lattice.ymax < np.float32(height + border), lattice.y_start
        )
        row_of_band, valid, lengths = [], [], []
        for level, (rows, columns) in enumerate(lattice.shapes):
            edges, mask = self._bands(level, rows, columns)
            row_of_band.append(edges[1:] - edges[:-1])
            valid.append(mask.ravel())
            lengths.append(np.full(len(mask), mask.shape[1]))
        rows_per_band = np.concatenate(row_of_band)
        length = np.concatenate(lengths)  # anchors per row, valid or not
        valid = np.concatenate(valid)  # one row per band, one after the other
        count = np.cumsum(valid)
        start = np.cumsum(length) - length
        before = count[start] - valid[start]  # valid anchors in this table before a band's row
        per_row = count[start + length - 1] - before

        band = np.repeat(np.arange(len(length)), rows_per_band)
        self._before_row = np.concatenate([[0], np.cumsum(per_row[band])])
        self._start = start[band]  # where the band of each row starts in the table
        self._rank = count - 1 - np.repeat(before, length)  # of a valid anchor, within its row
        self._offset = (np.arange(len(valid)) - np.repeat(start, length))[valid]  # by rank
        self._before_band = before[band]

    def _bands(self, level: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges of a level's bands, and a mask (bands, per_row) of valid anchors."""
        lattice = self._lattice
        base = slice(lattice.level_base[level], lattice.level_base[level + 1])
        left, right, top, bottom = (
            side[base] for side in (self.left, self.right, self.top, self.bottom)
        )
        edges = np.unique(np.concatenate([[0, rows], top, bottom]))
        first = edges[:-1, None]
        active = (top <= first) & (first < bottom)  # (bands, A)
        column = np.arange(columns)[:, None]
        in_row = (left <= column) & (column < right)  # (columns, A)
        return edges, (active[:, None] & in_row).reshape(len(active), -1)

    def __len__(self) -> int:
        """Return the number of valid anchors."""
        return int(self._before_row[-1])

    def rank(self, index: np.ndarray) -> np.ndarray:
        """Return the ranks of the valid anchors with these numbers."""
        row, offset = self._lattice.row_and_offset(index)
        return self._before_row[row] + self._rank[self._start[row] + offset]

    def select(self, rank: np.ndarray) -> np.ndarray:
        """Return the numbers of the valid anchors with these ranks: the inverse of `rank`."""
        rank = np.asarray(rank, np.int64)
        row = np.searchsorted(self._before_row, rank, side="right") - 1
        offset = self._offset[self._before_band[row] + rank - self._before_row[row]]
        return self._lattice.row_first[row] + offset


def _span(
    outside_near: np.ndarray, inside_far: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of cells, first and end, that are inside the image, for each base box.

    Corners ascend along the lattice. So the first cell is the count of cells that stick out on
    the near side, and the end is the count of cells that do not on the far side.
    """
    first = np.add.reduceat(outside_near, start, dtype=np.int64)
    end = np.add.reduceat(inside_far, start, dtype=np.int64)
    return first, np.maximum(first, end)


class MaskedAnchors:
    """A set of anchors given by a mask, used as `ValidAnchors` are.

    Parameters
    ----------
    mask : np.ndarray, bool
        True for the anchors in the set.
    """

    def __init__(self, mask: np.ndarray):
        self.mask = mask
        self._index = np.flatnonzero(mask)

    def __len__(self) -> int:
        """Return the number of anchors."""
        return len(self._index)

    def rank(self, index: np.ndarray) -> np.ndarray:
        """Return the ranks of the anchors with these numbers, which must be in the set."""
        return np.searchsorted(self._index, index)

    def select(self, rank: np.ndarray) -> np.ndarray:
        """Return the numbers of the anchors with these ranks."""
        return self._index[rank]


class Remainder:
    """What is left of a set of anchors without some of them, again found by rank.

    Parameters
    ----------
    whole : ValidAnchors or MaskedAnchors
    removed : np.ndarray, int64
        Numbers of anchors of ``whole``, ascending, to leave out.
    """

    def __init__(self, whole: ValidAnchors | MaskedAnchors, removed: np.ndarray):
        self._whole = whole
        # Rank r of the remainder is rank r + k of the whole, where k removed anchors come before
        # it. These are the removed anchors with at most r remaining anchors before them.
        self._removed = whole.rank(removed) - np.arange(len(removed))

    def __len__(self) -> int:
        """Return the number of anchors left."""
        return len(self._whole) - len(self._removed)

    def select(self, rank: np.ndarray) -> np.ndarray:
        """Return the numbers of the anchors with these ranks."""
        rank = np.asarray(rank, np.int64)
        return self._whole.select(rank + np.searchsorted(self._removed, rank, side="right"))
