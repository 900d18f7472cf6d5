"""One image: what ``rpn-target show`` draws and tells of it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from gluoncv.data.transforms import image as image_transforms

from ..core.draws import as_draws
from ..core.lattice import AnchorLattice
from ..core.matcher import Matching, match_anchors
from ..core.sampler import Sample, sample
from .coverage import STATUS_NAMES, ImageCoverage, cover, outside_image, status, why_no_anchor
from .results import plural
from .text import table
from .workers import Job, network_boxes

__all__ = ["OneImage", "look_at", "portrait_text", "save_portrait"]

BILINEAR = 1  # MXNet's number for the interpolation, as in the train transforms


class OneImage(NamedTuple):
    """Everything about one image, in pixels as the network sees it."""

    name: str
    picture: np.ndarray  # (H, W, 3), uint8
    boxes: np.ndarray  # (M, 4)
    class_names: list[str]
    coverage: ImageCoverage
    status: np.ndarray  # (M,), codes of `rpn_target.report.coverage`
    positives: np.ndarray  # (P, 4), corners of the kept ones
    negatives: np.ndarray  # (Q, 4)
    notes: list[str]  # what is the matter with each object, "" where nothing is
    kept_for: np.ndarray  # (M,), kept positives that stand for each object
    levels: list[dict[str, Any]]  # one dictionary of counts per level


def look_at(job: Job, index: int, seed: int) -> OneImage:
    """Assign and sample the anchors of one image.

    Parameters
    ----------
    job : Job
    index : int
        The image's number in the dataset.
    seed : int
        Of the draw: the kept anchors are those of GluonCV after ``np.random.seed(seed)``.

    Raises
    ------
    BrokenItem
        If the image or its annotation cannot be used.
    """
    label = job.source.read(index)
    boxes, width, height = network_boxes(job, index, label)
    image = mx.nd.array(job.source.image(index), dtype=np.uint8)
    picture = image_transforms.resize_short_within(
        image, min(width, height), max(width, height), interp=BILINEAR
    ).asnumpy()
    lattice = job.scheme.lattice(width, height)
    matching = match_anchors(lattice, boxes, width, height, job.settings)
    kept = sample(matching, job.settings, as_draws(np.random.RandomState(seed)))
    coverage = cover(lattice, boxes, width, height, job.settings)
    notes = [f"no anchor: {why}" if why else "" for why in why_no_anchor(coverage, job.settings)]
    for row in np.flatnonzero(outside_image(label.boxes, label.width, label.height)):
        notes[row] = "outside the image"
    return OneImage(
        name=job.source.name(index),
        picture=picture,
        boxes=boxes,
        class_names=list(label.names),
        coverage=coverage,
        status=status(coverage.best_iou, job.settings),
        positives=lattice.corners(kept.positives),
        negatives=lattice.corners(kept.negatives),
        notes=notes,
        kept_for=np.bincount(kept.matches, minlength=len(boxes))[: len(boxes)],
        levels=_levels(lattice, matching, kept, coverage),
    )


def _levels(
    lattice: AnchorLattice, matching: Matching, kept: Sample, coverage: ImageCoverage
) -> list[dict[str, Any]]:
    """Return what becomes of the anchors of each level."""
    count = len(lattice.depths)

    def per_level(anchors: np.ndarray) -> np.ndarray:
        level = lattice.level[lattice.locate(anchors)[0]]
        return np.bincount(level, minlength=count)

    negatives = matching.negatives.select(np.arange(len(matching.negatives)))
    columns = {
        "anchors": np.bincount(lattice.level, coverage.total, count),
        "valid": np.bincount(lattice.level, coverage.valid, count),
        "positive": per_level(matching.positives),
        "negative": per_level(negatives),
        "kept_positive": per_level(kept.positives),
        "kept_negative": per_level(kept.negatives),
    }
    columns["ignored"] = np.maximum(columns["valid"] - columns["positive"] - columns["negative"], 0)
    strides = lattice.stride[np.asarray(lattice.level_base[:-1])]
    return [
        {"stride": float(stride), **{name: int(column[level]) for name, column in columns.items()}}
        for level, stride in enumerate(strides)
    ]


WIDTH = 10  # inches
DPI = 120
LINE = 0.21  # inches, of the table below the picture
TITLE = 40  # characters of a file's name


def portrait_text(one: OneImage) -> str:
    """Return what ``show`` prints."""
    height, width = one.picture.shape[:2]
    rows = [["object", "size", "best IoU", "status", "positives", "kept", ""]]
    size = one.boxes[:, 2:] - one.boxes[:, :2]
    for row, note in enumerate(one.notes):
        rows.append(
            [one.class_names[row], f"{size[row, 0]:.0f} x {size[row, 1]:.0f}",
             f"{one.coverage.best_iou[row]:.3f}", str(STATUS_NAMES[one.status[row]]),
             f"{one.coverage.anchors[row]}", f"{one.kept_for[row]}", note]
        )  # fmt: skip
    objects = table(rows) if len(rows) > 1 else "  no objects"
    return "\n".join(
        [f"{one.name}, {width} x {height} as the network sees it", objects, "",
         "Anchors by level", table(_level_rows(one))]
    )  # fmt: skip


def _level_rows(one: OneImage) -> list[list[str]]:
    """Return a heading, one row per level, and their sum."""
    names = (
        "anchors", "valid", "positive", "kept_positive", "negative", "kept_negative", "ignored",
    )  # fmt: skip
    rows = [["level", "anchors", "valid", "positive", "kept", "negative", "kept", "ignore band"]]
    for number, level in enumerate(one.levels):
        rows.append([f"{number} (stride {level['stride']:g})", *(f"{level[n]:,}" for n in names)])
    if len(one.levels) > 1:
        rows.append(["all", *(f"{sum(level[n] for level in one.levels):,}" for n in names)])
    return rows


def save_portrait(one: OneImage, target: Any, kind: str = "png") -> None:
    """Draw the image with its objects and kept anchors, and the table of levels below.

    Parameters
    ----------
    one : OneImage
    target : path or binary file
        Where to write.
    kind : str
        The format, as matplotlib calls it.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from ..plot import COLORS, draw_anchors, draw_objects, draw_picture, plain, save, short

    height, width = one.picture.shape[:2]
    rows = _level_rows(one)
    below = LINE * len(rows) + 0.75
    picture = WIDTH * height / width
    total = picture + below + 0.45
    plot = Figure((WIDTH, total), dpi=DPI)
    ax = plot.add_axes((0, below / total, 1, picture / total))
    draw_picture(ax, one.picture)
    draw_anchors(ax, one.negatives, "negative")
    draw_anchors(ax, one.positives, "positive")
    missing = [bool(note) for note in one.notes]
    texts = [
        f"{name} {iou:.2f}" + (f", {note.split(':')[0]}" if note else "")
        for name, iou, note in zip(one.class_names, one.coverage.best_iou, one.notes)
    ]
    colors = [COLORS["never" if no else "object"] for no in missing]
    draw_objects(ax, one.boxes, texts, colors, missing)
    title = short(os.path.basename(one.name), TITLE)
    ax.set_title(
        f"{plain(title)}: {plural(len(one.boxes), 'object')} with best IoU, "
        f"{len(one.positives)} positive and {len(one.negatives)} negative anchors kept",
        fontsize=11,
    )  # fmt: skip

    handles = [
        Line2D([], [], color=COLORS["object"], linewidth=2, label="object"),
        Line2D([], [], color=COLORS["never"], linewidth=2, linestyle="--",
               label="object without an anchor"),
        Line2D([], [], color=COLORS["positive"], linewidth=2, label="kept positive"),
        Line2D([], [], color=COLORS["negative"], linewidth=1, label="kept negative"),
    ]  # fmt: skip
    plot.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, (below - 0.05) / total), ncol=4,
        fontsize=9, facecolor="#555555", labelcolor="white", framealpha=1,
    )  # fmt: skip
    plot.text(
        0.5, (below - 0.6) / total, table(rows, indent=""), family="monospace", fontsize=9,
        ha="center", va="top", linespacing=1.25,
    )  # fmt: skip
    save(plot, target, format=kind)
