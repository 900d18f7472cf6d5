"""Targets: the arrays the RPN loss reads, filled in for the kept anchors."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from .matcher import Anchors
from .sampler import Sample

__all__ = ["CLS_IGNORE", "CLS_NEGATIVE", "CLS_POSITIVE", "RPNTargets", "encode", "fill"]

# The training code per anchor, not to be mixed up with that of `rpn_target.core.sampler`.
CLS_POSITIVE = 1
CLS_NEGATIVE = 0
CLS_IGNORE = -1


class RPNTargets(NamedTuple):
    """Training targets of N anchors, all float32."""

    cls_target: np.ndarray
    """(N,), `CLS_POSITIVE`, `CLS_NEGATIVE` or `CLS_IGNORE`."""
    box_target: np.ndarray
    """(N, 4), encoded boxes of the positives, 0 elsewhere."""
    box_mask: np.ndarray
    """(N, 4), 1 for the positives, 0 elsewhere."""


def fill(anchors: Anchors, boxes: np.ndarray, sample: Sample, stds: Sequence[float]) -> RPNTargets:
    """Write the targets of one image's kept anchors.

    Parameters
    ----------
    anchors : AnchorLattice or AnchorArray
        The N anchors.
    boxes : np.ndarray of shape (M, 4), float32
        Ground-truth corner boxes.
    sample : Sample
        The kept anchors.
    stds : sequence of 4 floats
        Divisors of the encoded boxes.
    """
    cls_target = np.full(len(anchors), CLS_IGNORE, np.float32)
    cls_target[sample.negatives] = CLS_NEGATIVE
    cls_target[sample.positives] = CLS_POSITIVE
    box_target = np.zeros((len(anchors), 4), np.float32)
    box_mask = np.zeros((len(anchors), 4), np.float32)
    if len(sample.positives):
        matched = boxes[sample.matches]
        box_target[sample.positives] = encode(anchors.corners(sample.positives), matched, stds)
        box_mask[sample.positives] = 1
    return RPNTargets(cls_target, box_target, box_mask)


def encode(anchors: np.ndarray, boxes: np.ndarray, stds: Sequence[float]) -> np.ndarray:
    """Encode boxes relative to anchors.

    With centers ``x, y`` and sizes ``w, h`` of box g and anchor a, this is
    ``((gx - ax) / aw, (gy - ay) / ah, log(gw / aw), log(gh / ah)) / stds`` (Faster R-CNN, section
    3.1.2), in float32 and in GluonCV's order of operations.

    Parameters
    ----------
    anchors, boxes : np.ndarray of shape (P, 4), float32
        Corner boxes.
    stds : sequence of 4 floats

    Returns
    -------
    np.ndarray of shape (P, 4), float32
        ``-inf`` for the size of a box without width or height.
    """
    anchor_size = anchors[:, 2:] - anchors[:, :2]
    box_size = boxes[:, 2:] - boxes[:, :2]
    anchor_center = anchors[:, :2] + anchor_size * np.float32(0.5)
    box_center = boxes[:, :2] + box_size * np.float32(0.5)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shift = (box_center - anchor_center) / anchor_size
        growth = np.log(np.ascontiguousarray(box_size / anchor_size))
        return np.concatenate([shift, growth], axis=1) / np.asarray(stds, np.float32)
