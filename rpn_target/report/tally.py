"""Counts of objects by how well anchors cover them."""

from __future__ import annotations

import numpy as np

__all__ = ["BINS", "SIZES", "STATUS_NAMES", "Tally", "size_names"]

STATUS_NAMES = np.asarray(("above", "forced", "never"))
"""Of the codes of `rpn_target.report.coverage`."""

BINS = 20
"""Of the histogram of best IoUs, on [0, 1]."""
EDGES = np.linspace(0, 1, BINS + 1)

# COCO's limits, on the area in pixels of the image as it is stored. COCO takes the area of the
# object's mask, which only COCO has; here it is that of the box.
SIZES = {"small": "under 32 x 32", "medium": "up to 96 x 96", "large": "96 x 96 and more"}
SMALL, LARGE = 32**2, 96**2

FIXED = (0.5, 0.7)  # counted whatever the thresholds are, to compare sets of anchors


class Tally:
    """Counts of objects; tallies of different objects can be added.

    Attributes
    ----------
    objects : int
    above, forced, never : int
        By the status of the object, see `rpn_target.report.coverage`.
    crowded : int
        Objects not of status "never" all of whose anchors stand for neighbors.
    border : int
        Objects below ``pos_iou_thresh`` that an anchor across the border would put above it.
    at_50, at_70 : int
        Objects whose best IoU is at least 0.5 and 0.7.
    iou_sum : float
        Sum of the best IoUs.
    histogram : np.ndarray of shape (BINS,), int64
        Of the best IoUs.
    """

    COUNTS = ("objects", "above", "forced", "never", "crowded", "border", "at_50", "at_70")

    def __init__(self):
        for name in self.COUNTS:
            setattr(self, name, 0)
        self.iou_sum = 0.0
        self.histogram = np.zeros(BINS, np.int64)

    @classmethod
    def of(cls, best_iou, status_names, crowded, border) -> Tally:
        """Count objects.

        Parameters
        ----------
        best_iou : np.ndarray of shape (M,), float32
        status_names : np.ndarray of shape (M,), str
            "above", "forced" or "never".
        crowded, border : np.ndarray of shape (M,), bool
        """
        tally = cls()
        tally.objects = len(best_iou)
        for name in ("above", "forced", "never"):
            setattr(tally, name, int(np.count_nonzero(status_names == name)))
        tally.crowded = int(np.count_nonzero(crowded))
        tally.border = int(np.count_nonzero(border))
        tally.at_50, tally.at_70 = (
            int(np.count_nonzero(best_iou >= np.float32(level))) for level in FIXED
        )
        tally.iou_sum = float(np.sum(best_iou, dtype=np.float64))
        place = np.searchsorted(EDGES, best_iou, "right") - 1
        tally.histogram = np.bincount(np.minimum(place, BINS - 1), minlength=BINS)
        return tally

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for name in (*self.COUNTS, "iou_sum", "histogram"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def share(self, name: str) -> float:
        """Return a count as a share of the objects; 0 without objects."""
        return getattr(self, name) / self.objects if self.objects else 0.0

    @property
    def mean_iou(self) -> float:
        """The mean best IoU; 0 without objects."""
        return self.iou_sum / self.objects if self.objects else 0.0

    def figures(self) -> dict:
        """Return everything as plain numbers."""
        figures = {name: getattr(self, name) for name in self.COUNTS}
        figures["mean_best_iou"] = self.mean_iou
        figures["best_iou_histogram"] = self.histogram.tolist()
        return figures


def size_names(boxes: np.ndarray) -> np.ndarray:
    """Return "small", "medium" or "large" for corner boxes (M, 4) in pixels of the stored image."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    names = np.asarray(tuple(SIZES))
    return names[(area >= SMALL).astype(int) + (area >= LARGE)]
