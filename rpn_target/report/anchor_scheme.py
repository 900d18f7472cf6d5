"""The anchors of a network, the numbers that make them, and the size of the images it sees."""

from __future__ import annotations

import random
from typing import Any, NamedTuple, Sequence

import numpy as np

from ..core.feature_maps import FeatureMapSizes
from ..core.lattice import AnchorLattice, Level, base_boxes
from ..gluon.network import anchor_levels, feature_map_sizes

__all__ = ["BASE_SIZE", "AnchorScheme", "Recipe", "recipe_of", "resized_size"]


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

    def __init__(
        self,
        title: str,
        levels: Sequence[Level],
        feature_maps: FeatureMapSizes,
        short: Sequence[int],
        max_size: int,
        recipe: Recipe | None = None,
    ) -> None:
        self.title = title
        self.levels = list(levels)
        self.feature_maps = feature_maps
        self.short = tuple(short)
        self.max_size = max_size
        self.recipe = recipe

    @classmethod
    def of_recipe(
        cls, title: str, recipe: Recipe, short: Sequence[int], max_size: int
    ) -> AnchorScheme:
        """Return the scheme of a recipe, with ``ceil(side / stride)`` cells per side."""
        maps = FeatureMapSizes(tuple(stride - 1 for stride in recipe.strides), recipe.strides)
        return cls(title, recipe.levels(), maps, short, max_size, recipe)

    @classmethod
    def of_network(
        cls, title: str, net: Any, short: Sequence[int] | None = None, max_size: int | None = None
    ) -> AnchorScheme:
        """Return the scheme of a GluonCV network, with sizes of its own where none are given."""
        levels = anchor_levels(net, not hasattr(net.rpn.anchor_generator, "anchors"))
        if short is None:
            short = net.short if isinstance(net.short, (tuple, list)) else (net.short,)
        sizes = feature_map_sizes(net)
        return cls(title, levels, sizes, short, max_size or net.max_size, recipe_of(levels))

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


BASE_SIZE = 16  # of all networks in GluonCV's model zoo
# What people write down as aspect ratios, to be tried where only the rounded boxes are known.
PLAIN_RATIOS = np.unique([k / 20 for k in range(1, 101)] + [1 / k for k in range(1, 11)])


class Recipe(NamedTuple):
    """What GluonCV's networks take to make their anchors."""

    strides: tuple[int, ...]
    base_size: float
    scales: tuple[tuple[float, ...], ...]
    """One tuple of scales per level."""
    ratios: tuple[float, ...]
    """Height over width, the same at every level."""

    def levels(self) -> list[Level]:
        """Return the lattice of every level."""
        return [Level(base, stride) for base, stride in zip(self._base_boxes(), self.strides)]

    def _base_boxes(self) -> list[np.ndarray]:
        return [
            base_boxes(stride, self.base_size, self.ratios, scales)
            for stride, scales in zip(self.strides, self.scales)
        ]

    def is_valid(self) -> bool:
        """Tell whether all anchors are at least a pixel wide and high."""
        boxes = np.concatenate(self._base_boxes())
        return bool(np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all())

    def options(self) -> list[str]:
        """Return the recipe as command-line options with their values."""
        one_level = len(self.strides) == 1
        scales = [
            (" " if one_level else ",").join(f"{s:g}" for s in level) for level in self.scales
        ]
        ratios = " ".join(f"{ratio:g}" for ratio in self.ratios)
        strides = " ".join(f"{stride:g}" for stride in self.strides)
        return [
            f"--strides {strides}", f"--scales {' '.join(scales)}", f"--ratios {ratios}",
            f"--base-size {self.base_size:g}",
        ]  # fmt: skip

    def arguments(self) -> str:
        """Return the recipe as command-line arguments."""
        return " ".join(self.options())

    def keywords(self) -> str:
        """Return the recipe as keyword arguments of GluonCV's networks."""
        scales = [level if len(level) > 1 else level[0] for level in self.scales]
        several = len(self.strides) > 1
        return (
            f"strides={self.strides if several else self.strides[0]}, "
            f"base_size={self.base_size:g}, scales={tuple(scales) if several else self.scales[0]}, "
            f"ratios={self.ratios}"
        )


def recipe_of(levels: Sequence[Level]) -> Recipe | None:
    """Return a recipe that makes exactly these anchors, or None if none is found."""
    scales: list[tuple[float, ...]] = []
    ratios: tuple[Any, ...] = ()
    for level in levels:
        sides = level.base[:, 2:] - level.base[:, :2] + 1
        shapes = sides[:, 1] / sides[:, 0]
        # Ratios are outermost: the first run of boxes with one shape has every scale once.
        count = int(np.flatnonzero(np.append(np.abs(shapes / shapes[0] - 1) > 1e-6, True))[0])
        if len(sides) % count:
            return None
        found = tuple(_plain_ratio(level.stride, side) for side in sides[::count])
        if None in found or (ratios and found != ratios):
            return None
        ratios = found
        width = np.round(np.sqrt(level.stride**2 / ratios[0]))
        scale = sides[:count, 0] / width * level.stride / BASE_SIZE
        scales.append(tuple(plain(value) for value in scale.tolist()))
    strides = tuple(plain(level.stride) for level in levels)
    recipe = Recipe(strides, BASE_SIZE, tuple(scales), tuple(plain(r) for r in ratios))
    same = all(
        one.base.shape == other.base.shape and np.allclose(one.base, other.base, atol=1e-3)
        for one, other in zip(recipe.levels(), levels)
    )
    return recipe if same else None


def _plain_ratio(stride: float, side: np.ndarray) -> float | None:
    """Return the plainest ratio that gives this shape once its sides are whole pixels."""
    widths = np.round(np.sqrt(stride**2 / PLAIN_RATIOS))
    heights = np.round(widths * PLAIN_RATIOS)
    fits = np.flatnonzero(np.abs(heights * side[0] / (widths * side[1]) - 1) < 1e-6)
    if not len(fits):
        return None
    digits = [len(f"{PLAIN_RATIOS[number]:g}") for number in fits]
    return float(PLAIN_RATIOS[fits[int(np.argmin(digits))]])


def plain(value: float) -> Any:
    """Return a number rounded to 6 digits, without a fraction where it has none."""
    value = round(value, 6)
    return int(value) if value == int(value) else value
