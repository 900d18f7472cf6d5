"""The anchors of a network, and the size at which it sees an image."""

from __future__ import annotations

import random

import numpy as np

from ..core.feature_maps import FeatureMapSizes
from ..core.lattice import AnchorLattice
from .recipe import Recipe

__all__ = ["AnchorScheme", "resized_size"]


class AnchorScheme:
    """Levels of anchors, feature-map sizes, and how images are resized.

    Parameters
    ----------
    title : str
        What to call it.
    levels : list of Level
    feature_maps : FeatureMapSizes
    short : tuple of one or two int
        Length of the shorter side; two are a range to draw from, per image.
    max_size : int
        Upper limit of the longer side.
    recipe : Recipe, optional
        Where the levels come from, if known.
    """

    def __init__(self, title, levels, feature_maps, short, max_size, recipe=None):
        self.title = title
        self.levels = list(levels)
        self.feature_maps = feature_maps
        self.short = tuple(short)
        self.max_size = max_size
        self.recipe = recipe

    @classmethod
    def of_recipe(cls, title: str, recipe: Recipe, short, max_size) -> AnchorScheme:
        """Return the scheme of a recipe, with ``ceil(side / stride)`` cells per side."""
        maps = FeatureMapSizes(tuple(stride - 1 for stride in recipe.strides), recipe.strides)
        return cls(title, recipe.levels(), maps, short, max_size, recipe)

    def with_recipe(self, recipe: Recipe) -> AnchorScheme:
        """Return the same scheme with other anchors."""
        return AnchorScheme(
            self.title, recipe.levels(), self.feature_maps, self.short, self.max_size, recipe
        )

    def resized(self, width: int, height: int, index: int) -> tuple[int, int]:
        """Return the size at which the network sees image number ``index``."""
        short = self.short[0]
        if len(self.short) > 1:  # GluonCV draws; here every run must see the same
            short = random.Random(index).randint(*self.short)
        return resized_size(width, height, short, self.max_size)

    def lattice(self, width: int, height: int) -> AnchorLattice:
        """Return the anchors of an image of this size."""
        return AnchorLattice(self.levels, self.feature_maps.shapes(height, width))


def resized_size(width: int, height: int, short: int, max_size: int) -> tuple[int, int]:
    """Return width and height after the resizing of GluonCV's train transforms."""
    shorter, longer = sorted((width, height))
    scale = short / shorter
    if np.round(scale * longer) > max_size:
        scale = max_size / longer
    return int(np.round(width * scale)), int(np.round(height * scale))
