"""Boxes on pictures: what `rpn_target.plot_targets`, ``show`` and the page's gallery draw with.

Colors are told apart with any kind of color vision, and never carry a meaning alone: objects
without an anchor are dashed and say so, kept anchors are thin and negatives thinner.
"""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

__all__ = ["COLORS", "draw_anchors", "draw_objects", "draw_picture", "plain", "save"]

COLORS = {
    "above": "#1f5fbf",
    "forced": "#e69500",
    "never": "#d3184a",
    "positive": "#35c4ff",
    "negative": "#d9d9d9",
    "object": "#ffffff",
}
LETTER = 0.62  # width of a letter, as a share of the font size


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is, and not as a formula."""
    return text.replace("$", r"\$")


def save(figure, target, **keywords) -> None:
    """Save a figure, with boxes for the letters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(target, **keywords)


def draw_picture(ax, picture: np.ndarray) -> None:
    """Draw an image (H, W, 3), uint8, with the origin at the corner of its first pixel.

    Corner boxes then need no shift by half a pixel.
    """
    height, width = picture.shape[:2]
    ax.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()


def draw_anchors(ax, corners: np.ndarray, kind: str) -> None:
    """Draw corner boxes (P, 4) of kept anchors, "positive" or "negative"."""
    if not len(corners):
        return
    xmin, ymin, xmax, ymax = np.asarray(corners).T
    loop = [(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax), (xmin, ymin)]
    lines = np.stack([np.stack(point, axis=-1) for point in loop], axis=1)  # (P, 5, 2)
    width, alpha = (1.2, 0.8) if kind == "positive" else (0.6, 0.45)
    ax.add_collection(
        LineCollection(lines, colors=COLORS[kind], linewidths=width, alpha=alpha), autolim=False
    )


def draw_objects(
    ax, boxes: np.ndarray, texts, colors, dashed, linewidth: float = 2, fontsize: float = 9
) -> None:
    """Draw corner boxes (M, 4) of objects.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    boxes : np.ndarray of shape (M, 4)
    texts : sequence of M str
        Written at the upper left corner of each; may be empty.
    colors : sequence of M str
    dashed : sequence of M bool
    linewidth, fontsize : float
        In points.
    """
    # Dashed ones last, so that nothing covers them.
    every = zip(np.asarray(boxes).tolist(), texts, colors, dashed)
    for box, text, color, dash in sorted(every, key=lambda one: bool(one[3])):
        xmin, ymin, xmax, ymax = box
        corner, size = (xmin, ymin), (xmax - xmin, ymax - ymin)
        style = (0, (4, 2)) if dash else "solid"
        # A dark line below makes light ones visible on light pictures.
        for edge, extra, line in (("black", 1.5, "solid"), (color, 0, style)):
            ax.add_patch(
                Rectangle(
                    corner, *size, fill=False, edgecolor=edge, linewidth=linewidth + extra,
                    linestyle=line,
                )
            )  # fmt: skip
        if text:
            _write(ax, box, text, color, fontsize)


def _write(ax, box, text: str, color: str, fontsize: float) -> None:
    """Write at the upper left corner of a box, or the upper right one if only there is room."""
    xmin, ymin, xmax, _ = box
    _, right = ax.get_xlim()
    _, top = ax.get_ylim()
    pixels = right / (72 * ax.figure.get_figwidth() * ax.get_position().width)  # per point
    length = LETTER * fontsize * len(text) * pixels
    at_right = xmin + length > right and min(xmax, right) - length > 0
    light = color in (COLORS["object"], COLORS["forced"], COLORS["positive"])
    ax.annotate(
        plain(text), (min(xmax, right) if at_right else max(xmin, 0), max(ymin, top)),
        xytext=(-3 if at_right else 3, -3), textcoords="offset points", annotation_clip=False,
        fontsize=fontsize, ha="right" if at_right else "left", va="top",
        color="black" if light else "white",
        bbox={"facecolor": color, "edgecolor": "none", "pad": 1.2, "alpha": 0.9},
    )  # fmt: skip
