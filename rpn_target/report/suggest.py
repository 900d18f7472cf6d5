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
from typing import Any, Callable, Sequence

import numpy as np
from tqdm import tqdm

from ..core.boxes import intersection_over_union
from ..core.feature_maps import FeatureMapSizes
from ..core.lattice import Level
from ..core.settings import TargetSettings
from . import ReportError
from .anchor_scheme import AnchorScheme, Recipe
from .coverage import ABOVE, NEVER, SIZES, Summary, outside_image, size_names, status
from .source import BrokenItem
from .workers import Job, network_boxes, summarize

__all__ = [
    "NO_RECIPE",
    "best_ious",
    "other_numbers",
    "search",
    "starting_recipe",
    "suggest",
    "sweep",
]

IMAGES = 2000  # at most, on either side
LARGER = 1.5  # times the sides of the images, as a remedy
OBJECTS = 4000  # at most, to search with
SIDES = ("before", "after")


NO_RECIPE = (
    "anchors made from scales and ratios alone are needed, which those of the network are not"
)


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


def suggest(
    job: Job, indices: Sequence[int], workers: int, seed: int, advise: bool = True
) -> dict[str, Any]:
    """Search for a better recipe on half of the images and measure it on the other half.

    Parameters
    ----------
    job : Job
    indices : sequence of int
        The images.
    workers : int
        Number of processes.
    seed : int
        Of the search, and of what is kept aside.
    advise : bool
        Whether to measure other remedies and other numbers of anchors per cell, too.

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
    job = job._replace(per_object=True)
    order = list(indices)
    random.Random(seed).shuffle(order)
    half = -(-len(order) // 2)
    searched, held_out = sorted(order[:half][:IMAGES]), sorted(order[half:][:IMAGES])
    boxes, sizes = _some(*_objects(job, searched, "searching"), OBJECTS, seed)
    if not len(boxes):
        raise ReportError(
            f"--suggest needs objects in at least two images, but of {len(order)} the half to "
            "search with has none"
        )
    found = search(recipe, job.scheme.feature_maps, boxes, sizes, job.settings, seed)
    before, after = (
        summarize(
            job._replace(scheme=job.scheme.with_recipe(one)), held_out, workers, f"measuring {side}"
        )
        for side, one in zip(SIDES, (recipe, found))
    )
    if not before.every.objects:
        raise ReportError("--suggest needs objects in at least two images, to measure on others")
    gain, lose = after.changed_since(before)
    better = gain > lose  # on images that the search has not seen
    suggestion = {
        "searched_images": len(searched),
        "searched_objects": len(boxes),
        "held_out_images": len(held_out),
        "better": better,
        **{
            side: {
                "arguments": one.arguments(), "keywords": one.keywords(), "call": one.call(),
                "held_out": summary.every.figures(),
            }
            for side, one, summary in zip(SIDES, (recipe, found), (before, after))
        },
    }  # fmt: skip
    if advise:
        remedies = [
            _remedy("anchors that fit the objects", found.call(), before, after),
            *_other_remedies(job, held_out, workers, before),
        ]
        # By objects, each counted once; of as many, those that reach pos_iou_thresh decide.
        suggestion["remedies"] = sorted(
            remedies, key=lambda one: (one["worse"] - one["better"], -one["more_above"])
        )
        kept, tally = (found, after.every) if better else (recipe, before.every)
        others = other_numbers(kept, job.scheme.feature_maps, boxes, sizes, job.settings, seed)
        aside = _objects(job, held_out, "measuring numbers")
        rows = [_number_row(kept, tally.objects, tally.never, tally.above, True)]
        rows += [_number_row(one, *_measured(job, one, *aside), False) for one in others]
        suggestion["anchors_per_cell"] = _best_of_each(rows)
    return suggestion


def _remedy(what: str, how: str, before: Summary, after: Summary) -> dict:
    """Return what a remedy wins on the objects kept aside."""
    better, worse = after.changed_since(before)
    return {
        "remedy": what, "how": how, "objects": after.every.objects, "never": after.every.never,
        "above": after.every.above, "won": before.every.never - after.every.never,
        "more_above": after.every.above - before.every.above, "better": better, "worse": worse,
    }  # fmt: skip


def _other_remedies(job: Job, held_out: Sequence[int], workers: int, before: Summary) -> list[dict]:
    """Return what other remedies than anchors win on the objects kept aside."""
    scheme, remedies = job.scheme, []
    larger = [round(LARGER * side) for side in scheme.short]
    max_size = round(LARGER * scheme.max_size)
    how = f"short={' to '.join(map(str, larger))}, max_size={max_size}"
    summary = _at_size(job, held_out, workers, larger, max_size)
    remedies.append(_remedy("larger images", how, before, summary))
    if job.settings.low_quality_matches != "keep":
        settings = dataclasses.replace(job.settings, low_quality_matches="keep")
        summary = summarize(job._replace(settings=settings), held_out, workers, "measuring rule")
        how = 'low_quality_matches="keep" for the train transform'
        remedies.append(_remedy("learning each object from its best anchor", how, before, summary))
    recipe = scheme.recipe
    if recipe and len(recipe.strides) > 1 and recipe.strides[0] % 2 == 0:
        finer = recipe._replace(
            strides=(recipe.strides[0] // 2, *recipe.strides),
            scales=(tuple(scale / 2 for scale in recipe.scales[0]), *recipe.scales),
        )
        one = AnchorScheme.of_recipe(scheme.title, finer, scheme.short, scheme.max_size)
        summary = summarize(job._replace(scheme=one), held_out, workers, "measuring stride")
        how = f"one more level of stride {finer.strides[0]:g}, in the network's constructor"
        remedies.append(_remedy("a level with a smaller stride", how, before, summary))
    return remedies


def _number_row(recipe: Recipe, objects: int, never: int, above: int, present: bool) -> dict:
    """Return how well a recipe covers the objects kept aside, and the line that sets it."""
    scales, ratios = len(recipe.scales[0]), len(recipe.ratios)
    return {
        "anchors_per_cell": scales * ratios, "scales_per_level": scales, "ratios": ratios,
        "present_number": present, "objects": objects, "never": never, "above": above,
        "arguments": recipe.arguments(), "keywords": recipe.keywords(), "call": recipe.call(),
    }  # fmt: skip


def _measured(
    job: Job, recipe: Recipe, boxes: np.ndarray, sizes: np.ndarray
) -> tuple[int, int, int]:
    """Return how many objects there are, are never learned, and reach ``pos_iou_thresh``."""
    border, maps = job.settings.allowed_border, job.scheme.feature_maps
    parts = [
        best_ious(recipe.levels(), maps, boxes[start:][:OBJECTS], sizes[start:][:OBJECTS], border)
        for start in range(0, len(boxes), OBJECTS)
    ]
    codes = status(np.concatenate(parts), job.settings)
    return len(boxes), int(np.count_nonzero(codes == NEVER)), int(np.count_nonzero(codes == ABOVE))


def _best_of_each(rows: Sequence[dict]) -> list[dict]:
    """Return the better one of rows of the same number of anchors per cell, fewest first."""
    best: dict[int, dict] = {}
    for row in sorted(
        rows, key=lambda one: (not one["present_number"], one["never"], -one["above"])
    ):
        best.setdefault(row["anchors_per_cell"], row)
    return [best[number] for number in sorted(best)]


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
        tally = _at_size(job, indices, workers, [short], max_size).every
        rows.append({"short": short, "max_size": max_size, "objects": tally.figures()})
    return rows


def _at_size(
    job: Job, indices: Sequence[int], workers: int, short: Sequence[int], max_size: int
) -> Summary:
    """Return the summary of images resized so."""
    scheme = job.scheme.with_sizes(list(short), max_size)
    return summarize(job._replace(scheme=scheme), indices, workers, "measuring size")


def _objects(job: Job, indices: Sequence[int], message: str) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (M, 4) of some images, and the sizes (M, 2) of their images, as seen."""
    found, seen = [np.zeros((0, 4), np.float32)], [np.zeros((0, 2), np.int64)]
    for index in tqdm(indices, desc=message, unit="image", disable=None, leave=False):
        try:
            label = job.source.read(index)
            of_image, width, height = network_boxes(job, index, label)
        except BrokenItem:  # counted already
            continue
        boxes = np.reshape(label.boxes, (-1, 4))
        of_image = of_image[~outside_image(boxes, label.width, label.height)]
        found.append(of_image)
        seen.append(np.tile([width, height], (len(of_image), 1)))
    return np.concatenate(found), np.concatenate(seen)


def _some(
    boxes: np.ndarray, sizes: np.ndarray, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return so many of the objects at most, drawn at random."""
    if len(boxes) <= most:
        return boxes, sizes
    some = np.random.default_rng(seed).choice(len(boxes), most, replace=False)
    return boxes[some], sizes[some]


MEMBERS = 20  # sets of anchors that evolve
GENERATIONS = 60
MUTATION = (0.5, 1.0)  # factor of the difference of two members that is added to the best
CROSSOVER = 0.7  # probability that a number is taken from the mutant
SPREAD = 0.3  # of the first members around the starting points, in logarithms
CLUSTER_ROUNDS = 60
DIGITS = 3  # that a found number is rounded to, before it is judged

# The search with other numbers of anchors begins at what is found already, so that less will do.
FEWER_OBJECTS = 1000
FEWER_MEMBERS = 14
FEWER_GENERATIONS = 20
BEYOND = 1.6  # the outermost number times this is one to begin with


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
    score = _score_of(recipe, feature_maps, boxes, sizes, settings)
    generator = np.random.default_rng(seed)
    starts = [
        _to_logs(recipe), _from_objects(recipe, boxes), _from_clusters(recipe, boxes, generator)
    ]  # fmt: skip
    best, best_score = _evolve(starts, score, generator, MEMBERS, GENERATIONS)
    return recipe if best_score <= score(starts[0]) else _from_logs(recipe, best)


def other_numbers(
    recipe: Recipe, feature_maps: FeatureMapSizes, boxes: np.ndarray, sizes: np.ndarray,
    settings: TargetSettings, seed: int,
) -> list[Recipe]:  # fmt: skip
    """Return recipes with fewer and more scales or ratios that cover the objects well.

    Up to two ratios fewer and more, and one scale per level fewer and more, as far as one is left.
    Each search begins at a recipe with one number fewer or more, the first at the one given.

    Parameters
    ----------
    recipe, feature_maps, boxes, sizes, settings, seed
        See `search`.
    """
    boxes, sizes = _some(boxes, sizes, FEWER_OBJECTS, seed)
    found = []
    for change_of_scales, steps in ((0, (-1, -1)), (0, (1, 1)), (-1, (0,)), (1, (0,))):
        near = recipe
        for change_of_ratios in steps:
            scale_count = len(near.scales[0]) + change_of_scales
            ratio_count = len(near.ratios) + change_of_ratios
            if not scale_count or not ratio_count:
                break
            like = near._replace(
                scales=((1,) * scale_count,) * len(near.strides), ratios=(1,) * ratio_count
            )
            generator = np.random.default_rng(seed)
            starts = [
                *_neighbors(near, change_of_scales, change_of_ratios), _from_objects(like, boxes),
                _from_clusters(like, boxes, generator),
            ]  # fmt: skip
            score = _score_of(like, feature_maps, boxes, sizes, settings)
            best, _ = _evolve(starts, score, generator, FEWER_MEMBERS, FEWER_GENERATIONS)
            near = _from_logs(like, best)
            found.append(near)
    return [one for one in found if one.is_valid()]


def _neighbors(recipe: Recipe, change_of_scales: int, change_of_ratios: int) -> list[np.ndarray]:
    """Return the recipe with a ratio, or a scale of every level, more or fewer, as logarithms."""
    if change_of_ratios:
        return [
            _to_logs(recipe._replace(ratios=ratios))
            for ratios in _one_more_or_fewer(recipe.ratios, change_of_ratios)
        ]
    per_level = [_one_more_or_fewer(scales, change_of_scales) for scales in recipe.scales]
    return [_to_logs(recipe._replace(scales=scales)) for scales in zip(*per_level)]


def _one_more_or_fewer(numbers: Sequence[float], change: int) -> list[tuple[float, ...]]:
    """Return ascending numbers with one of them left out, or with one more between or beyond."""
    if change < 0:
        return [
            tuple(number for index, number in enumerate(numbers) if index != left_out)
            for left_out in range(len(numbers))
        ]
    between = [(one * other) ** 0.5 for one, other in zip(numbers, numbers[1:])]
    new = [numbers[0] / BEYOND, *between, numbers[-1] * BEYOND]
    # One twice covers no less than before: more anchors are never worse on what is searched with.
    return [tuple(sorted((*numbers, number))) for number in (numbers[0], *new)]


def _score_of(
    recipe: Recipe, feature_maps: FeatureMapSizes, boxes: np.ndarray, sizes: np.ndarray,
    settings: TargetSettings,
) -> Callable[[np.ndarray], float]:  # fmt: skip
    """Return a function that scores scales and ratios, given as a vector of logarithms."""
    groups = _size_groups(boxes)

    def score(logs: np.ndarray) -> float:
        trial = _from_logs(recipe, logs)
        if not trial.is_valid():
            return -np.inf
        iou = best_ious(trial.levels(), feature_maps, boxes, sizes, settings.allowed_border)
        return _score(iou, groups, settings)

    return score


def _evolve(
    starts: Sequence[np.ndarray], score: Callable[[np.ndarray], float],
    generator: np.random.Generator, count: int, generations: int,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Return the best vector that differential evolution finds, and its score."""
    members = list(starts) + [
        starts[number % len(starts)] + generator.normal(0, SPREAD, len(starts[0]))
        for number in range(count - len(starts))
    ]
    scores = [score(member) for member in members]
    for _ in range(generations):
        for number, member in enumerate(members):
            best = members[int(np.argmax(scores))]
            one, other = generator.choice(len(members), 2, replace=False)
            mutant = best + generator.uniform(*MUTATION) * (members[one] - members[other])
            taken = generator.random(len(member)) < CROSSOVER
            taken[generator.integers(len(member))] = True
            trial = np.where(taken, mutant, member)
            of_trial = score(trial)
            if of_trial >= scores[number]:
                members[number], scores[number] = trial, of_trial
    best_number = int(np.argmax(scores))
    return members[best_number], scores[best_number]


def _size_groups(boxes: np.ndarray) -> list[np.ndarray]:
    """Return the rows of the objects of each size that there are, sizes as the network sees."""
    names = size_names(boxes)
    return [np.flatnonzero(names == name) for name in SIZES if (names == name).any()]


def _score(iou: np.ndarray, groups: list[np.ndarray], settings: TargetSettings) -> float:
    """Return how good the best IoUs are: a mean over the size groups, large ones counting more.

    An object counts 1 if it is learned at all, and 1 more at or above ``pos_iou_thresh``. Between
    these thresholds it counts up to a half more, so that the search sees which way is better.
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
