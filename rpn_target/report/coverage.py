"""Coverage: what the assignment says of the objects and the anchor shapes of one image.

An *anchor shape* is a base box of a level. An object's *best anchor* is the valid anchor with the
largest IoU with it. At or above ``pos_iou_thresh`` it is positive; below, GluonCV's rule *forces*
it to be; below ``neg_iou_thresh`` it is background, and the object is *never learned*. An anchor
can stand for one object only, the one it overlaps most, so an object may be *crowded out*: its
best anchor is positive, but each of its anchors stands for a neighbor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.boxes import intersection_over_union
from ..core.matcher import assign
from ..core.settings import TargetSettings

__all__ = ["ABOVE", "FORCED", "NEVER", "ImageCoverage", "cover", "least_learned", "status"]

# An object's status, by the IoU of its best anchor.
ABOVE = 0  # [pos_iou_thresh, 1]
FORCED = 1  # [floor, pos_iou_thresh), with the floor of `least_learned`
NEVER = 2  # [0, floor)


class ImageCoverage(NamedTuple):
    """What is known of one image with M objects and K anchor shapes."""

    best_iou: np.ndarray
    """(M,) float32, largest IoU with a valid anchor; 0 where no valid anchor meets the object."""
    best_shape: np.ndarray
    """(M,) int64, shape of the best anchor (the first, where several tie), or -1."""
    best_anywhere: np.ndarray
    """(M,) float32, largest IoU with any anchor, those that cross the border included; only where
    some best IoU of the image is below ``pos_iou_thresh``."""
    anchors: np.ndarray
    """(M,) int64, positive anchors that stand for the object, before sampling."""
    total: np.ndarray
    """(K,) int64, anchors."""
    valid: np.ndarray
    """(K,) int64, anchors inside the image."""
    positive: np.ndarray
    """(K,) int64, positive anchors before sampling."""
    above: np.ndarray
    """(K,) int64, those at or above ``pos_iou_thresh``; the others are forced."""
    negatives: int
    """Negative anchors before sampling."""
    kept_positives: int
    kept_negatives: int

    @property
    def ignored(self) -> int:
        """Valid anchors that are neither positive nor negative."""
        return max(0, int(self.valid.sum() - self.positive.sum()) - self.negatives)


def cover(lattice, boxes: np.ndarray, width: int, height: int, settings: TargetSettings):
    """Return the `ImageCoverage` of one image.

    Parameters
    ----------
    lattice : AnchorLattice
        Of an image of this size.
    boxes : np.ndarray of shape (M, 4), float32
        Valid corner boxes, in pixels of the image the network sees.
    width, height : int
        Size of that image.
    settings : TargetSettings
    """
    shapes = len(lattice.base)
    inside = lattice.inside(width, height, settings.allowed_border)
    valid = (inside.right - inside.left) * (inside.bottom - inside.top)
    total = lattice.rows * lattice.columns

    best_iou, best_shape = _best(lattice, boxes, inside, settings)
    best_anywhere = best_iou
    if (best_iou < np.float32(settings.pos_iou_thresh)).any():
        everywhere = lattice.inside(width, height, float("inf"))
        best_anywhere, _ = _best(lattice, boxes, everywhere, settings)

    assignment = assign(lattice, boxes, width, height, settings)
    shape = lattice.locate(assignment.positives)[0]
    positive = np.bincount(shape, minlength=shapes)
    if len(boxes) and len(inside):
        matched = boxes[assignment.matches].T
        iou = intersection_over_union(lattice.corners(assignment.positives).T, matched)
        above = np.bincount(shape[iou >= np.float32(settings.pos_iou_thresh)], minlength=shapes)
        anchors = np.bincount(assignment.matches, minlength=len(boxes))
    else:  # without a valid anchor GluonCV calls every anchor positive, for no object's sake
        above = np.zeros(shapes, np.int64)
        anchors = np.zeros(len(boxes), np.int64)
    negatives = len(assignment.negatives)
    kept = min(len(assignment.positives), settings.max_positives)
    return ImageCoverage(
        best_iou, best_shape, best_anywhere, anchors, total, valid, positive, above, negatives,
        kept, min(negatives, settings.num_sample - kept),
    )  # fmt: skip


def _best(lattice, boxes: np.ndarray, inside, settings: TargetSettings):
    """Return the largest IoU (M,) of each box, and the shape (M,) of the anchor that has it."""
    shape = np.full(len(boxes), -1)
    if not len(boxes) or not len(inside):
        return np.zeros(len(boxes), np.float32), shape
    anchor, box, iou, best = lattice.overlaps(boxes, settings.neg_iou_thresh, inside)
    first = np.flatnonzero((iou == best[box]) & (iou > 0))
    # The lowest anchor number comes last, so that it is the one that stays.
    first = first[np.argsort(-anchor[first], kind="stable")]
    shape[box[first]] = lattice.locate(anchor[first])[0]
    return best, shape


def least_learned(settings: TargetSettings) -> np.float32:
    """Return the IoU from which on the best anchor of an object is positive."""
    if settings.low_quality_matches == "drop":
        return np.float32(settings.pos_iou_thresh)
    if settings.low_quality_matches == "keep":
        return np.nextafter(np.float32(0), np.float32(1))
    return np.float32(settings.neg_iou_thresh)


def status(best_iou: np.ndarray, settings: TargetSettings) -> np.ndarray:
    """Return `ABOVE`, `FORCED` or `NEVER` for each object, compared in float32 as GluonCV does."""
    best_iou = np.asarray(best_iou, np.float32)
    result = np.where(best_iou >= np.float32(settings.pos_iou_thresh), ABOVE, FORCED)
    return np.where(best_iou < least_learned(settings), NEVER, result)
