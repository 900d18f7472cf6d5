"""Sampling: which of the positive and negative anchors are kept.

Both are drawn without replacement when there are more than the quota allows: the positives first,
then the negatives, which may fill what the positives left.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .draws import Draws
from .matcher import Matching
from .settings import TargetSettings

__all__ = ["IGNORE", "NEGATIVE", "POSITIVE", "Sample", "sample"]

# The sampler's code per anchor, not to be mixed up with that of `rpn_target.core.coder`.
POSITIVE = 1
NEGATIVE = -1
IGNORE = 0


class Sample(NamedTuple):
    """The kept anchors of one image."""

    positives: np.ndarray
    """(P,) int64, numbers of the kept positive anchors."""
    matches: np.ndarray
    """(P,) int64, the row of the box each of them stands for."""
    negatives: np.ndarray
    """(Q,) int64, numbers of the kept negative anchors."""


def sample(matching: Matching, settings: TargetSettings, draws: Draws) -> Sample:
    """Draw the anchors to keep.

    Nothing is drawn where there is no surplus.

    Parameters
    ----------
    matching : Matching
    settings : TargetSettings
    draws : Draws
        What to draw from; see `rpn_target.core.draws`.
    """
    positives, matches, negatives = matching
    kept = draws.kept(len(positives), settings.max_positives)
    positives, matches = positives[kept], matches[kept]
    kept = draws.kept(len(negatives), settings.num_sample - len(positives))
    return Sample(positives, matches, negatives.select(kept))
