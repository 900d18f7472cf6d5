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
        """Tell whether all anchors are wider and higher than a pixel, as `set_anchors` demands."""
        boxes = np.concatenate(self._base_boxes())
        return bool(np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all())

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
    per_cell = len(levels[0].base)
    if any(len(level.base) != per_cell for level in levels):
        return None
    # Neither number is known: ratios that differ may make one shape, rounded to whole pixels.
    for scale_count in range(1, per_cell + 1):
        if per_cell % scale_count == 0:
            recipe = _recipe_of_scales(levels, scale_count)
            if recipe is not None:
                return recipe
    return None


CORNER_ERRORS = 4  # roundings to float32 that a side may have suffered


def _recipe_of_scales(levels: Sequence[Level], count: int) -> Recipe | None:
    """Return a recipe with so many scales per level that makes these anchors, if there is one."""
    sides = np.stack([level.base[:, 2:] - level.base[:, :2] + 1 for level in levels])  # (L, A, 2)
    corners = np.stack([np.abs(level.base).max(axis=1) for level in levels])
    error = 1e-6 + CORNER_ERRORS * np.finfo(np.float32).eps * corners / sides.min(axis=2)
    strides = np.asarray([level.stride for level in levels], np.float64)[:, None]
    whole = np.stack(_whole_sides(strides, PLAIN_RATIOS))  # (2, L, ratios tried)
    shape = sides[:, :, 1] / sides[:, :, 0]

    def shortest(fits: np.ndarray) -> int:
        return min(np.flatnonzero(fits), key=lambda number: len(f"{PLAIN_RATIOS[number]:g}"))

    def of_shape(number: int) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.abs(whole[1] / (whole[0] * shape[:, number, None]) - 1)
        return (off < error[:, number, None]).all(axis=0)

    # Ratios are outermost. The first gives the scales, and may stand for several: 6 x 36 and
    # 7 x 42 pixels have one shape. The other ratios must then have the widths that follow.
    left = of_shape(0)
    while left.any():
        first = shortest(left)
        width = whole[0, :, first, None]
        left &= (whole[0] != width).any(axis=0)
        chosen = [first]
        for number in range(count, sides.shape[1], count):
            wanted = width * (sides[:, number, 0] / sides[:, 0, 0])[:, None]
            fits = of_shape(number) & (np.abs(whole[0] - wanted) < 0.5).all(axis=0)
            if not fits.any():
                break
            chosen.append(shortest(fits))
        scales = sides[:, :count, 0] / width * strides / BASE_SIZE
        recipe = Recipe(
            tuple(plain(level.stride) for level in levels), BASE_SIZE,
            tuple(tuple(map(plain, one)) for one in scales.tolist()),
            tuple(plain(ratio) for ratio in PLAIN_RATIOS[chosen].tolist()),
        )  # fmt: skip
        if len(chosen) * count == sides.shape[1] and all(
            np.allclose(one.base, other.base, atol=1e-3)
            for one, other in zip(recipe.levels(), levels)
        ):
            return recipe
    return None


def _whole_sides(stride: Any, ratio: Any) -> tuple[Any, Any]:
    """Return width and height of a cell's square in a ratio, in whole pixels as GluonCV rounds."""
    width = np.round(np.sqrt(stride**2 / ratio))
    return width, np.round(width * ratio)


def plain(value: float) -> Any:
    """Return a number rounded to 6 digits, without a fraction where it has none."""
    value = round(value, 6)
    return int(value) if value == int(value) else value
