"""Suggesting scales and ratios: search on some images, measure on others.

The best IoU of an object needs no matcher: along a lattice the overlap rises and falls
symmetrically, so of each anchor shape the best anchor is the valid one nearest to the object's
center. That makes one set of anchors cheap to judge, for all objects at once. What is searched for
is what matters in training: objects that reach ``pos_iou_thresh``, and few that are never learned,
in every group of sizes. Differential evolution finds it from three starting points: the anchors as
they are, quantiles of the objects' sizes and shapes, and their clusters (k-means on IoU).
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Sequence

import numpy as np
from tqdm import tqdm

from ..core.boxes import intersection_over_union
from ..core.feature_maps import FeatureMapSizes
from ..core.lattice import Level
from ..core.settings import TargetSettings
from . import ReportError
from .anchor_scheme import AnchorScheme, Recipe
from .coverage import SIZES, Tally, size_names
from .source import BrokenItem
from .workers import Job, network_boxes, summarize

__all__ = ["best_ious", "search", "starting_recipe", "suggest", "sweep"]

IMAGES = 2000  # at most, on either side
LARGER = 1.5  # times the sides of the images, as a remedy
OBJECTS = 4000  # at most, to search with
SIDES = ("before", "after")


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


def suggest(job: Job, indices: Sequence[int], workers: int, seed: int) -> dict[str, Any]:
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
    found = search(recipe, job.scheme.feature_maps, boxes, sizes, job.settings, seed)
    recipes = (recipe, found)
    tallies = []
    for side, one in zip(SIDES, recipes):
        scheme = job.scheme.with_recipe(one)
        summary = summarize(job._replace(scheme=scheme), held_out, workers, f"measuring {side}")
        tallies.append(summary.every)
    if not tallies[0].objects:
        raise ReportError("--suggest needs objects in at least two images, to measure on others")
    before, after = tallies
    remedies = [
        _remedy("anchors that fit the objects", found.call(), before, after),
        *_other_remedies(job, held_out, workers, before),
    ]
    won = before.never - after.never, after.above - before.above
    better = min(won) >= 0 and max(won) > 0  # on images that the search has not seen
    return {
        "searched_images": len(searched),
        "searched_objects": len(boxes),
        "held_out_images": len(held_out),
        "better": better,
        # An object that comes from below neg_iou_thresh to pos_iou_thresh counts twice.
        "remedies": sorted(remedies, key=lambda one: -one["won"] - one["more_above"]),
        **{
            side: {
                "arguments": one.arguments(), "keywords": one.keywords(), "call": one.call(),
                "held_out": tally.figures(),
            }
            for side, one, tally in zip(SIDES, recipes, tallies)
        },
    }  # fmt: skip


def _remedy(what: str, how: str, before: Tally, after: Tally) -> dict:
    """Return what a remedy wins on the objects kept aside."""
    return {
        "remedy": what, "how": how, "objects": after.objects, "never": after.never,
        "above": after.above, "won": before.never - after.never,
        "more_above": after.above - before.above,
    }  # fmt: skip


def _other_remedies(job: Job, held_out: Sequence[int], workers: int, before: Tally) -> list[dict]:
    """Return what other remedies than anchors win on the objects kept aside."""
    scheme, remedies = job.scheme, []
    larger = [round(LARGER * side) for side in scheme.short]
    max_size = round(LARGER * scheme.max_size)
    how = f"short={' to '.join(map(str, larger))}, max_size={max_size}"
    tally = _at_size(job, held_out, workers, larger, max_size)
    remedies.append(_remedy("larger images", how, before, tally))
    if job.settings.low_quality_matches != "keep":
        settings = dataclasses.replace(job.settings, low_quality_matches="keep")
        summary = summarize(job._replace(settings=settings), held_out, workers, "measuring rule")
        how = 'low_quality_matches="keep" for the train transform'
        remedies.append(
            _remedy("learning each object from its best anchor", how, before, summary.every)
        )
    recipe = scheme.recipe
    if recipe and len(recipe.strides) > 1 and recipe.strides[0] % 2 == 0:
        finer = recipe._replace(
            strides=(recipe.strides[0] // 2, *recipe.strides),
            scales=(tuple(scale / 2 for scale in recipe.scales[0]), *recipe.scales),
        )
        one = AnchorScheme.of_recipe(scheme.title, finer, scheme.short, scheme.max_size)
        summary = summarize(job._replace(scheme=one), held_out, workers, "measuring stride")
        how = f"one more level of stride {finer.strides[0]:g}, in the network's constructor"
        remedies.append(_remedy("a level with a smaller stride", how, before, summary.every))
    return remedies


def sweep(
    job: Job, indices: Sequence[int], workers: int, shorts: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what the anchors learn where images are resized to each of some shorter sides.

    The limit of the longer side changes in proportion, or it would undo the larger sizes.

    Returns
    -------
    list of dict
        ``"short"``, ``"max_size"`` and the figures of all objects, ``"objects"``, of each size.
    """
    rows = []
    for short in shorts:
        max_size = round(job.scheme.max_size * short / max(job.scheme.short))
        tally = _at_size(job, indices, workers, [short], max_size)
        rows.append({"short": short, "max_size": max_size, "objects": tally.figures()})
    return rows


def _at_size(
    job: Job, indices: Sequence[int], workers: int, short: Sequence[int], max_size: int
) -> Tally:
    """Return the tally of all objects of images resized so."""
    scheme = job.scheme.with_sizes(list(short), max_size)
    return summarize(job._replace(scheme=scheme), indices, workers, "measuring size").every


def _objects(job: Job, indices: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (M, 4) of some images, and the sizes (M, 2) of their images, as seen."""
    found, seen = [np.zeros((0, 4), np.float32)], [np.zeros((0, 2), np.int64)]
    for index in tqdm(indices, desc="searching", unit="image", disable=None, leave=False):
        try:
            of_image, width, height = network_boxes(job, index, job.source.read(index))
        except BrokenItem:  # counted already
            continue
        found.append(of_image)
        seen.append(np.tile([width, height], (len(of_image), 1)))
    boxes, sizes = np.concatenate(found), np.concatenate(seen)
    if len(boxes) > OBJECTS:
        some = np.random.default_rng(seed).choice(len(boxes), OBJECTS, replace=False)
        boxes, sizes = boxes[some], sizes[some]
    return boxes, sizes


MEMBERS = 20  # sets of anchors that evolve
GENERATIONS = 60
MUTATION = (0.5, 1.0)  # factor of the difference of two members that is added to the best
CROSSOVER = 0.7  # probability that a number is taken from the mutant
SPREAD = 0.3  # of the first members around the starting points, in logarithms
CLUSTER_ROUNDS = 60
DIGITS = 3  # that a found number is rounded to, before it is judged


def best_ious(
    levels: Sequence[Level],
    feature_maps: FeatureMapSizes,
    boxes: np.ndarray,
    sizes: np.ndarray,
    border: float = 0,
) -> np.ndarray:
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
    shift, meets = [], np.ones((len(boxes), len(base)), bool)
    for axis in (0, 1):
        side = sizes[:, axis, None]
        low, high = base[:, axis], base[:, axis + 2]
        first = np.maximum(np.ceil((-border - low) / stride), 0)
        cells = (side + offset) // stride
        last = np.minimum(np.ceil((side + border - high) / stride), cells) - 1  # (M, K)
        meets &= first <= last
        center = (boxes[:, axis, None] + boxes[:, axis + 2, None] - low - high) / (2 * stride)
        shift.append(stride * np.maximum(np.minimum(np.round(center), last), first))
    anchors = [base[:, side] + shift[side % 2] for side in range(4)]
    iou = intersection_over_union(anchors, boxes.T[:, :, None])
    return np.where(meets, iou, 0).max(axis=1)


def search(
    recipe: Recipe, feature_maps: FeatureMapSizes, boxes: np.ndarray, sizes: np.ndarray,
    settings: TargetSettings, seed: int,
) -> Recipe:  # fmt: skip
    """Return a recipe with as many scales and ratios that covers the objects better.

    It may be the recipe given. The same arguments give the same recipe.

    Parameters
    ----------
    recipe : Recipe
        Where the search starts.
    feature_maps, boxes, sizes
        See `best_ious`.
    settings : TargetSettings
        Its thresholds and its border.
    seed : int

    Notes
    -----
    Differential evolution after Storn and Price (1997), "best/1/bin", in logarithms.
    """
    groups = _size_groups(boxes)

    def score(logs: np.ndarray) -> float:
        trial = _from_logs(recipe, logs)
        if not trial.is_valid():
            return -np.inf
        iou = best_ious(trial.levels(), feature_maps, boxes, sizes, settings.allowed_border)
        return _score(iou, groups, settings)

    generator = np.random.default_rng(seed)
    starts = [
        _to_logs(recipe), _from_objects(recipe, boxes), _from_clusters(recipe, boxes, generator)
    ]  # fmt: skip
    members = starts + [
        starts[number % 3] + generator.normal(0, SPREAD, len(starts[0]))
        for number in range(MEMBERS - 3)
    ]
    scores = [score(member) for member in members]
    for _ in range(GENERATIONS):
        for number, member in enumerate(members):
            best = members[int(np.argmax(scores))]
            one, other = generator.choice(MEMBERS, 2, replace=False)
            mutant = best + generator.uniform(*MUTATION) * (members[one] - members[other])
            taken = generator.random(len(member)) < CROSSOVER
            taken[generator.integers(len(member))] = True
            trial = np.where(taken, mutant, member)
            of_trial = score(trial)
            if of_trial >= scores[number]:
                members[number], scores[number] = trial, of_trial
    best = int(np.argmax(scores))
    if scores[best] <= score(starts[0]):
        return recipe
    return _from_logs(recipe, members[best])


def _size_groups(boxes: np.ndarray) -> list[np.ndarray]:
    """Return the rows of the objects of each size that there are, sizes as the network sees."""
    names = size_names(boxes)
    return [np.flatnonzero(names == name) for name in SIZES if (names == name).any()]


def _score(iou: np.ndarray, groups: list[np.ndarray], settings: TargetSettings) -> float:
    """Return how good the best IoUs are: a mean over the size groups, large ones counting more.

    Of each group the share at or above ``pos_iou_thresh``, the share that is learned, and, which
    leads from one set of anchors to a better one, half of the mean way from one to the other.
    """
    positive, least = settings.pos_iou_thresh, settings.neg_iou_thresh
    way = np.clip((iou - least) / max(positive - least, 1e-6), 0, 1)
    goal = (iou >= positive) + 1.0 * (iou >= least) + 0.5 * way
    # The root, so that a few objects of another size are neither ignored nor decisive.
    weights = np.sqrt([len(rows) for rows in groups])
    return float(np.average([goal[rows].mean() for rows in groups], weights=weights))


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


def _from_clusters(recipe: Recipe, boxes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return sizes and shapes of the objects' clusters (k-means on IoU) as logarithms."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1).astype(np.float64)
    count = len(recipe.scales[0]) * len(recipe.strides)
    clusters = min(count * len(recipe.ratios), len(sides))
    centers = sides[generator.choice(len(sides), clusters, replace=False)]
    for _ in range(CLUSTER_ROUNDS):
        shared = np.minimum(sides[:, None], centers).prod(axis=2)
        union = sides.prod(axis=1)[:, None] + centers.prod(axis=1) - shared
        nearest = (shared / union).argmax(axis=1)
        for number in np.unique(nearest):
            centers[number] = np.median(sides[nearest == number], axis=0)
    centers = np.repeat(centers, np.bincount(nearest, minlength=clusters), axis=0)
    return _from_objects(recipe, np.concatenate([np.zeros_like(centers), centers], axis=1))
