"""The numeric steps in their order: anchors and boxes in, RPN targets out."""

from __future__ import annotations

import numpy as np

from .coder import RPNTargets, fill
from .matcher import assign
from .sampler import sample
from .settings import TargetSettings

__all__ = ["generate_targets"]


def generate_targets(
    anchors,
    boxes: np.ndarray,
    width: float,
    height: float,
    settings: TargetSettings,
    draws,
    ignore: np.ndarray | None = None,
) -> RPNTargets:
    """Assign, sample and encode the anchors of one image.

    Parameters
    ----------
    anchors : AnchorLattice or AnchorArray
        The N anchors.
    boxes : np.ndarray of shape (M, 4), float32
        Valid ground-truth corner boxes, in pixels of the image the network sees.
    width, height : float
        Size of that image in pixels.
    settings : TargetSettings
    draws
        What to draw from; see `rpn_target.core.draws`.
    ignore : np.ndarray of shape (K, 4), float32, optional
        Regions whose anchors are no negatives.
    """
    assignment = assign(anchors, boxes, width, height, settings, ignore)
    return fill(anchors, boxes, sample(assignment, settings, draws), settings.stds)
