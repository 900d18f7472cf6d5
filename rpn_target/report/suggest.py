"""Suggesting scales and ratios: search on some images, measure on others."""

from __future__ import annotations

import random

import numpy as np
from tqdm import tqdm

from ..cli.main import CommandError
from .recipe import Recipe
from .scheme import AnchorScheme
from .search import search
from .source import BrokenItem
from .workers import Job, network_boxes, summarize

__all__ = ["starting_recipe", "suggest"]

IMAGES = 2000  # at most, on either side
OBJECTS = 4000  # at most, to search with
SIDES = ("before", "after")
SHARES = ("at_50", "at_70")


def starting_recipe(scheme: AnchorScheme) -> Recipe:
    """Return the scales and ratios to start from.

    Raises
    ------
    CommandError
        If the anchors follow no recipe.
    """
    if scheme.recipe is None:
        raise CommandError(
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
    CommandError
        If there are too few images or objects, or the anchors follow no recipe.
    """
    recipe = starting_recipe(job.scheme)
    order = list(indices)
    random.Random(seed).shuffle(order)
    half = -(-len(order) // 2)
    searched, held_out = sorted(order[:half][:IMAGES]), sorted(order[half:][:IMAGES])
    boxes, sizes = _objects(job, searched, seed)
    if not len(boxes):
        raise CommandError(
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
        raise CommandError("--suggest needs objects in at least two images, to measure on others")
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
