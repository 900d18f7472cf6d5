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
        levels = anchor_levels(net)
        if short is None:
            short = net.short if isinstance(net.short, (tuple, list)) else (net.short,)
        sizes = feature_map_sizes(net)
        return cls(title, levels, sizes, short, max_size or net.max_size, recipe_of(levels))

    def with_recipe(self, recipe: Recipe) -> AnchorScheme:
        """Return the same scheme with other anchors."""
        return AnchorScheme(
            self.title, recipe.levels(), self.feature_maps, self.short, self.max_size, recipe
        )

    def with_sizes(self, short: Sequence[int], max_size: int) -> AnchorScheme:
        """Return the same anchors for images of other sizes."""
        return AnchorScheme(
            self.title, self.levels, self.feature_maps, short, max_size, self.recipe
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
# Aspect ratios to be tried where only the rounded boxes are known: what people write down, and
# numbers of three digits, which `rpn_target.suggest_anchors` returns.
PLAIN_RATIOS = np.unique(
    [k / 20 for k in range(1, 101)]
    + [1 / k for k in range(1, 11)]
    + [k / scale for scale in (10, 100, 1000, 10000) for k in range(100, 1000)]
)


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

    def keywords(self) -> dict[str, Any]:
        """Return what `rpn_target.set_anchors` takes besides a network."""
        if len(self.strides) == 1:
            scales: tuple = self.scales[0]
        else:
            scales = tuple(level if len(level) > 1 else level[0] for level in self.scales)
        return {"scales": scales, "ratios": self.ratios, "base_size": self.base_size}

    def call(self) -> str:
        """Return the line that gives a network these anchors."""
        arguments = ", ".join(f"{name}={value}" for name, value in self.keywords().items())
        return f"rpn_target.set_anchors(net, {arguments})"


def recipe_of(levels: Sequence[Level]) -> Recipe | None:
    """Return a recipe that makes exactly these anchors, or None if none is found."""
    sides = [level.base[:, 2:] - level.base[:, :2] + 1 for level in levels]
    shapes = [one[:, 1] / one[:, 0] for one in sides]
    # Ratios are outermost: the first run of boxes with one shape has every scale once. The last
    # level has the largest cells, where the least is lost by rounding.
    first = np.append(np.abs(shapes[-1] / shapes[-1][0] - 1) > 1e-6, True)
    count = int(np.flatnonzero(first)[0])
    if any(len(one) % count or len(one) != len(sides[0]) for one in sides):
        return None
    ratios = []
    for number in range(0, len(sides[0]), count):
        fits = np.ones(len(PLAIN_RATIOS), bool)
        for level, shape in zip(levels, shapes):
            width, height = _whole_sides(level.stride, PLAIN_RATIOS)
            with np.errstate(divide="ignore", invalid="ignore"):
                fits &= np.abs(height / (width * shape[number]) - 1) < 1e-6
        if not fits.any():
            return None
        ratios.append(plain(min(PLAIN_RATIOS[fits].tolist(), key=lambda r: len(f"{r:g}"))))
    scales = []
    for level, one in zip(levels, sides):
        width, _ = _whole_sides(level.stride, ratios[0])
        scale = one[:count, 0] / width * level.stride / BASE_SIZE
        scales.append(tuple(plain(value) for value in scale.tolist()))
    strides = tuple(plain(level.stride) for level in levels)
    recipe = Recipe(strides, BASE_SIZE, tuple(scales), tuple(ratios))
    same = all(
        one.base.shape == other.base.shape and np.allclose(one.base, other.base, atol=1e-3)
        for one, other in zip(recipe.levels(), levels)
    )
    return recipe if same else None


def _whole_sides(stride: float, ratio: Any) -> tuple[Any, Any]:
    """Return width and height of a cell's square in a ratio, in whole pixels as GluonCV rounds."""
    width = np.round(np.sqrt(stride**2 / ratio))
    return width, np.round(width * ratio)


def plain(value: float) -> Any:
    """Return a number rounded to 6 digits, without a fraction where it has none."""
    value = round(value, 6)
    return int(value) if value == int(value) else value
