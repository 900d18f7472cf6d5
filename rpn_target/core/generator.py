"""The numeric steps in their order: anchors and boxes in, RPN targets out."""

from __future__ import annotations

import numpy as np

from .coder import RPNTargets, fill
from .draws import Draws
from .matcher import Anchors, match_anchors
from .sampler import sample
from .settings import TargetSettings

__all__ = ["generate_targets"]


def generate_targets(
    anchors: Anchors,
    boxes: np.ndarray,
    width: float,
    height: float,
    settings: TargetSettings,
    draws: Draws,
    ignore: np.ndarray | None = None,
) -> RPNTargets:
    """Match, sample and encode the anchors of one image.

    Parameters
    ----------
    anchors : AnchorLattice or AnchorArray
        The N anchors.
    boxes : np.ndarray of shape (M, 4), float32
        Valid ground-truth corner boxes, in pixels of the image the network sees.
    width, height : float
        Size of that image in pixels.
    settings : TargetSettings
    draws : Draws
        What to draw from; see `rpn_target.core.draws`.
    ignore : np.ndarray of shape (K, 4), float32, optional
        Regions whose anchors are no negatives.
    """
    matching = match_anchors(anchors, boxes, width, height, settings, ignore)
    return fill(anchors, boxes, sample(matching, settings, draws), settings.stds)
