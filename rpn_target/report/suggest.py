"""Suggesting scales and ratios: search on some images, measure on others.

The best IoU of an object needs no assignment: along a lattice the overlap rises and falls
symmetrically, so of each anchor shape the best anchor is the valid one nearest to the object's
center. That makes one set of anchors cheap to judge, for all objects at once, and a random search
from a few starting points good enough.
"""

from __future__ import annotations

import random

import numpy as np
from tqdm import tqdm

from ..core.boxes import intersection_over_union
from . import ReportError
from .anchor_scheme import AnchorScheme, Recipe
from .source import BrokenItem
from .workers import Job, network_boxes, summarize

__all__ = ["best_ious", "search", "starting_recipe", "suggest"]

IMAGES = 2000  # at most, on either side
OBJECTS = 4000  # at most, to search with
SIDES = ("before", "after")
SHARES = ("at_50", "at_70")


def starting_recipe(scheme: AnchorScheme) -> Recipe:
    """Return the scales and ratios to start from.

    Raises
    ------
    ReportError
        If the anchors follow no recipe.
    """
    if scheme.recipe is None:
        raise ReportError(
            "--suggest needs anchors made from scales and ratios alone, which those of the network "
            "are not; give --strides, --scales, --ratios and --base-size"
        )
    return scheme.recipe


def suggest(job: Job, indices, workers: int, seed: int) -> dict:
    """Search for a better recipe on half of the images and measure it on the other half.

    Returns
    -------
    dict
        The recipes as ``"arguments"`` and ``"keywords"``, and the tally of the held-out objects,
        each ``"before"`` and ``"after"``.

    Raises
    ------
    ReportError
        If there are too few images or objects, or the anchors follow no recipe.
    """
    recipe = starting_recipe(job.scheme)
    order = list(indices)
    random.Random(seed).shuffle(order)
    half = -(-len(order) // 2)
    searched, held_out = sorted(order[:half][:IMAGES]), sorted(order[half:][:IMAGES])
    boxes, sizes = _objects(job, searched, seed)
    if not len(boxes):
        raise ReportError(
            f"--suggest needs objects in at least two images, but of {len(order)} the half to "
            "search with has none"
        )
    found = search(recipe, job.scheme.feature_maps, boxes, sizes, job.settings.allowed_border, seed)
    recipes = (recipe, found)
    tallies = []
    for side, one in zip(SIDES, recipes):
        scheme = job.scheme.with_recipe(one)
        summary = summarize(job._replace(scheme=scheme), held_out, workers, f"measuring {side}")
        tallies.append(summary.every)
    if not tallies[0].objects:
        raise ReportError("--suggest needs objects in at least two images, to measure on others")
    before, after = ([getattr(tally, name) for name in SHARES] for tally in tallies)
    # Neither share may fall on images that the search has not seen.
    better = after != before and all(new >= old for new, old in zip(after, before))
    return {
        "searched_images": len(searched),
        "searched_objects": len(boxes),
        "held_out_images": len(held_out),
        "better": better,
        **{
            side: {
                "arguments": one.arguments(), "keywords": one.keywords(),
                "held_out": tally.figures(),
            }
            for side, one, tally in zip(SIDES, recipes, tallies)
        },
    }  # fmt: skip


def _objects(job: Job, indices, seed: int):
    """Return boxes (M, 4) of some images, and the sizes (M, 2) of their images, as seen."""
    boxes, sizes = [np.zeros((0, 4), np.float32)], [np.zeros((0, 2), np.int64)]
    for index in tqdm(indices, desc="searching", unit="image", disable=None, leave=False):
        try:
            of_image, width, height = network_boxes(job, index, job.source.read(index))
        except BrokenItem:  # counted already
            continue
        boxes.append(of_image)
        sizes.append(np.tile([width, height], (len(of_image), 1)))
    boxes, sizes = np.concatenate(boxes), np.concatenate(sizes)
    if len(boxes) > OBJECTS:
        some = np.random.default_rng(seed).choice(len(boxes), OBJECTS, replace=False)
        boxes, sizes = boxes[some], sizes[some]
    return boxes, sizes


TRIALS = 600  # sets of anchors that are judged
SPREAD = 0.35  # of the first steps, in logarithms: e to this is some 1.4
LEAST = 0.01  # share that counts as little, whose logarithm still exists
DIGITS = 3  # that a found number is rounded to, before it is judged


def best_ious(levels, feature_maps, boxes, sizes, border: float = 0) -> np.ndarray:
    """Return the largest IoU (M,) of each object with a valid anchor, up to rounding.

    Parameters
    ----------
    levels : list of Level
    feature_maps : FeatureMapSizes
    boxes : np.ndarray of shape (M, 4), float32
        Objects of any images, in pixels as the network sees them.
    sizes : np.ndarray of shape (M, 2), int64
        Width and height of each object's image.
    border : float
        How many pixels a valid anchor may stick out of the image.
    """
    boxes = boxes.astype(np.float64)
    base = np.concatenate([level.base for level in levels])  # (K, 4)
    depths = [level.anchors_per_cell for level in levels]
    stride = np.repeat([level.stride for level in levels], depths)
    offset = np.repeat(feature_maps.offsets, depths)
    place, meets = [], np.ones((len(boxes), len(base)), bool)
    for axis in (0, 1):
        side = sizes[:, axis, None]
        low, high = base[:, axis], base[:, axis + 2]
        first = np.maximum(np.ceil((-border - low) / stride), 0)
        cells = (side + offset) // stride
        last = np.minimum(np.ceil((side + border - high) / stride), cells) - 1  # (M, K)
        meets &= first <= last
        center = (boxes[:, axis, None] + boxes[:, axis + 2, None] - low - high) / (2 * stride)
        place.append(stride * np.maximum(np.minimum(np.round(center), last), first))
    anchors = [base[:, side] + place[side % 2] for side in range(4)]
    iou = intersection_over_union(anchors, boxes.T[:, :, None])
    return np.where(meets, iou, 0).max(axis=1)


def search(recipe: Recipe, feature_maps, boxes, sizes, border: float, seed: int) -> Recipe:
    """Return a recipe with as many scales and ratios that covers the objects better.

    It raises the shares of objects at or above 0.5 and 0.7 together, lowers neither, and may be
    the recipe given. The same arguments give the same recipe.

    Parameters
    ----------
    recipe : Recipe
        Where the search starts.
    feature_maps, boxes, sizes, border
        See `best_ious`.
    seed : int
    """

    def judge(recipe: Recipe) -> tuple:
        iou = best_ious(recipe.levels(), feature_maps, boxes, sizes, border)
        return np.mean(iou >= 0.5), np.mean(iou >= 0.7), np.mean(iou)

    generator = np.random.default_rng(seed)
    least = judge(recipe)
    best, best_score = recipe, _score(least)
    starts = [_to_logs(recipe), _from_objects(recipe, boxes)]
    for number in range(TRIALS):
        if number < len(starts):
            logs = starts[number]
        else:
            # Small steps become more frequent, large ones never stop.
            spread = SPREAD * (1 - number / TRIALS) * generator.choice([1, 0.3, 0.1])
            start = _to_logs(best) if generator.random() < 0.8 else starts[1]
            some = generator.random(len(start)) < max(0.3, 1 / len(start))
            logs = start + some * generator.normal(0, spread, len(start))
        trial = _from_logs(recipe, logs)
        if not trial.is_valid():
            continue
        shares = judge(trial)
        if _score(shares) > best_score and shares[0] >= least[0] and shares[1] >= least[1]:
            best, best_score = trial, _score(shares)
    return best


def _score(shares) -> float:
    """Return one number for the shares at or above 0.5 and 0.7, and the mean IoU."""
    # In logarithms, a gain of the large share is not worth more than one of the small share. The
    # mean decides between sets that are equal otherwise, and leads to better ones.
    at_50, at_70, mean = shares
    return np.log(at_50 + LEAST) + np.log(at_70 + LEAST) + 0.2 * mean


def _to_logs(recipe: Recipe) -> np.ndarray:
    """Return scales and ratios as one vector of logarithms."""
    return np.log(np.concatenate([*recipe.scales, recipe.ratios]))


def _from_logs(recipe: Recipe, logs: np.ndarray) -> Recipe:
    """Return the recipe with the scales and ratios of such a vector, each in ascending order."""
    count = len(recipe.scales[0])
    numbers = [float(f"{value:.{DIGITS}g}") for value in np.exp(logs)]
    numbers = [int(value) if value.is_integer() else value for value in numbers]
    split = count * len(recipe.strides)
    scales = tuple(
        tuple(sorted(numbers[start : start + count])) for start in range(0, split, count)
    )
    return recipe._replace(scales=scales, ratios=tuple(sorted(numbers[split:])))


def _from_objects(recipe: Recipe, boxes: np.ndarray) -> np.ndarray:
    """Return the quantiles of the objects' sizes and shapes, as a vector of logarithms."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).astype(np.float64)
    count = len(recipe.scales[0]) * len(recipe.strides)
    size = np.log(np.sqrt(sides.prod(axis=1)) / recipe.base_size)
    shape = np.log(sides[:, 1] / sides[:, 0])
    return np.concatenate(
        [np.quantile(values, (np.arange(n) + 0.5) / n)
         for values, n in ((size, count), (shape, len(recipe.ratios)))]
    )  # fmt: skip
