"""One image as text, and as a picture with its anchors."""

from __future__ import annotations

import os

from .coverage import NEVER
from .rows import plural
from .single import OneImage
from .tally import STATUS_NAMES
from .text import table

__all__ = ["portrait_text", "save_portrait"]

WIDTH = 10  # inches
DPI = 120
LINE = 0.21  # inches, of the table below the picture
TITLE = 40  # characters of a file's name


def _object_notes(one: OneImage) -> list[str]:
    """Return what is the matter with each object, empty where nothing is."""
    notes = []
    for state, anchors in zip(one.status, one.coverage.anchors):
        if state == NEVER:
            notes.append("no anchor: never learned")
        elif not anchors:
            notes.append("no anchor: crowded out")
        else:
            notes.append("")
    return notes


def portrait_text(one: OneImage) -> str:
    """Return what ``show`` prints."""
    height, width = one.picture.shape[:2]
    rows = [["object", "size", "best IoU", "status", "positives", "kept", ""]]
    size = one.boxes[:, 2:] - one.boxes[:, :2]
    for row, note in enumerate(_object_notes(one)):
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
        "anchors", "inside", "positive", "kept_positive", "negative", "kept_negative", "ignored",
    )  # fmt: skip
    rows = [["level", "anchors", "inside", "positive", "kept", "negative", "kept", "ignore band"]]
    for number, level in enumerate(one.levels):
        rows.append([f"{number} (stride {level['stride']:g})", *(f"{level[n]:,}" for n in names)])
    if len(one.levels) > 1:
        rows.append(["all", *(f"{sum(level[n] for level in one.levels):,}" for n in names)])
    return rows


def save_portrait(one: OneImage, path: str) -> None:
    """Draw the image with its objects and kept anchors, and the table of levels below.

    Parameters
    ----------
    one : OneImage
    path : str
        Where to write; the ending says the format, which is PNG without one.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from .drawing import COLORS, draw_anchors, draw_objects, draw_picture, plain, save

    height, width = one.picture.shape[:2]
    rows = _level_rows(one)
    below = LINE * len(rows) + 0.75
    picture = WIDTH * height / width
    total = picture + below + 0.45
    figure = Figure((WIDTH, total), dpi=DPI)
    ax = figure.add_axes((0, below / total, 1, picture / total))
    draw_picture(ax, one.picture)
    draw_anchors(ax, one.negatives, "negative")
    draw_anchors(ax, one.positives, "positive")
    notes = _object_notes(one)
    missing = [bool(note) for note in notes]
    texts = [
        f"{name} {iou:.2f}" + (", no anchor" if no else "")
        for name, iou, no in zip(one.class_names, one.coverage.best_iou, missing)
    ]
    colors = [COLORS["never" if no else "object"] for no in missing]
    draw_objects(ax, one.boxes, texts, colors, missing)
    title = os.path.basename(one.name)
    title = title if len(title) <= TITLE else f"{title[: TITLE - 3]}..."
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
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, (below - 0.05) / total), ncol=4,
        fontsize=9, facecolor="#555555", labelcolor="white", framealpha=1,
    )  # fmt: skip
    figure.text(
        0.5, (below - 0.6) / total, table(rows, indent=""), family="monospace", fontsize=9,
        ha="center", va="top", linespacing=1.25,
    )  # fmt: skip
    save(figure, path, format=os.path.splitext(path)[1][1:] or "png")
