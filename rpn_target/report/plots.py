"""The pictures of the page, by matplotlib, as data that is written into it."""

from __future__ import annotations

import base64
import io
from typing import Any, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ..plot import COLORS, draw_objects, draw_picture, plain, save, short
from .coverage import BINS, PoorImage
from .results import Figures

__all__ = [
    "CLASSES",
    "SHAPES",
    "class_plot",
    "distribution_plot",
    "gallery_picture",
    "kept_plot",
    "number_plot",
    "shape_plot",
]

WIDTH = 4.8  # inches: drawn small, so that text can be read on a phone
CLASSES = 25  # in the plot of classes
SHAPES = 45  # in the plot of anchor shapes
PICTURE = (4.8, 3.6)  # inches that a picture of the gallery fits into
DPI = 130
NAME = 22  # characters, which leave room for the plot
INK, GRID = "#22272e", "#d8dce2"
STATUS = (
    ("above", "at or above {pos:g}"),
    ("low_quality", "low quality"),
    ("never", "never learned"),
)


def _new_plot(height: float) -> tuple[Figure, Axes]:
    plot = Figure((WIDTH, height), layout="constrained")
    ax = plot.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize=10)
    ax.set_axisbelow(True)
    return plot, ax


def _svg(plot: Figure) -> str:
    """Return a plot as the address of an image that is its own content."""
    buffer = io.BytesIO()
    # Text as outlines, so that it looks alike everywhere; no dates, so that pages can be compared.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "rpn_target"}):
        save(plot, buffer, format="svg", metadata={"Date": None}, transparent=True)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _legend(plot: Figure, columns: int) -> None:
    plot.legend(
        loc="outside upper center", ncol=columns, fontsize=9.5, frameon=False, labelcolor=INK,
        columnspacing=1.2, handlelength=1.2,
    )  # fmt: skip


def _count(axis: Any) -> None:
    """Let the numbers along an axis be whole, and short: 20k, 3M."""
    axis.get_major_locator().set_params(integer=True)
    axis.set_major_formatter(EngFormatter(sep=""))


def _stacked(ax: Axes, names: Sequence[str], tallies: Sequence[Figures], positive: float) -> None:
    """Draw a bar per group of objects, of its shares by status."""
    start = np.zeros(len(names))
    for key, text in STATUS:
        share = np.array([100 * tally[key] / max(1, tally["objects"]) for tally in tallies])
        ax.barh(
            np.arange(len(names)), share, left=start, color=COLORS[key], height=0.72,
            label=text.format(pos=positive),
        )  # fmt: skip
        start += share
    ax.set_yticks(np.arange(len(names)))
    ax.set_yticklabels(names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("% of objects", fontsize=10, color=INK)


def class_plot(groups: Sequence[tuple[str, Figures]], positive: float) -> str:
    """Draw how well the objects of each group, such as a class, are covered."""
    groups = groups[:CLASSES]
    names = [f"{plain(short(name, NAME))} ({tally['objects']:,})" for name, tally in groups]
    plot, ax = _new_plot(0.95 + 0.24 * len(names))
    _stacked(ax, names, [tally for _, tally in groups], positive)
    _legend(plot, 3)
    return _svg(plot)


def distribution_plot(histogram: Sequence[int], thresholds: tuple[float, float]) -> str:
    """Draw the distribution of the objects' best IoU, with the thresholds."""
    plot, ax = _new_plot(2.9)
    edges = np.linspace(0, 1, BINS + 1)
    low, high = thresholds
    middle = (edges[:-1] + edges[1:]) / 2
    colors = [
        COLORS["never" if x < low else "low_quality" if x < high else "above"] for x in middle
    ]
    ax.bar(middle, histogram, width=0.92 / BINS, color=colors)
    for threshold in thresholds:
        ax.axvline(threshold, color=INK, linewidth=1, linestyle=":")
    ax.set_xlim(0, 1)
    ax.set_xticks(np.linspace(0, 1, 11))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_xlabel("IoU of the object's best anchor", fontsize=10, color=INK)
    ax.set_ylabel("objects", fontsize=10, color=INK)
    _count(ax.yaxis)
    return _svg(plot)


def kept_plot(spread: Figures, quota: int) -> str:
    """Draw how many positives images keep."""
    plot, ax = _new_plot(2.9)
    step = max(1, -(-(quota + 1) // 32))
    end = -(-(quota + 1) // step) * step
    bars = np.zeros(end // step, np.int64)
    np.add.at(bars, np.arange(len(spread["histogram"])) // step, spread["histogram"])
    ax.bar((np.arange(len(bars)) + 0.5) * step, bars, width=0.9 * step, color=COLORS["above"])
    ax.axvline(quota + 1, color=INK, linewidth=1, linestyle=":")
    ax.set_xlim(0, end + 0.5)
    _count(ax.yaxis)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_xlabel(f"positives kept of {quota} at most", fontsize=10, color=INK)
    ax.set_ylabel("images", fontsize=10, color=INK)
    return _svg(plot)


def number_plot(numbers: Sequence[Figures], positive: float) -> str:
    """Draw which share of objects is never learned, and above, against anchors per cell."""
    plot, ax = _new_plot(2.9)
    per_cell = [one["anchors_per_cell"] for one in numbers]
    for key, marker, text in (
        ("never", "o", "never learned"), ("above", "s", f"at or above {positive:g}"),
    ):  # fmt: skip
        shares = [100 * one[key] / max(1, one["objects"]) for one in numbers]
        ax.plot(per_cell, shares, color=COLORS[key], marker=marker, linewidth=2, label=text)
    for one in numbers:
        if one["present_number"]:
            ax.axvline(one["anchors_per_cell"], color=INK, linewidth=1, linestyle=":")
    ax.set_xticks(per_cell)
    ax.set_xlim(0, max(per_cell) + 1)
    ax.set_ylim(-2, 102)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_xlabel("anchors per cell", fontsize=10, color=INK)
    ax.set_ylabel("% of objects", fontsize=10, color=INK)
    _legend(plot, 2)
    return _svg(plot)


def shape_plot(shapes: Sequence[Figures]) -> str:
    """Draw how many anchors of each shape are positive."""
    several = len({shape["level"] for shape in shapes}) > 1
    names = []
    for shape in shapes:
        name = f"{shape['width']:.0f} x {shape['height']:.0f}"
        names.append(f"stride {shape['stride']:g}: {name}" if several else name)
    plot, ax = _new_plot(0.95 + 0.22 * len(names))
    start = np.zeros(len(names))
    for key, text in (("above", "positive by IoU"), ("low_quality", "low quality")):
        count = np.array([shape[key] for shape in shapes], float)
        ax.barh(
            np.arange(len(names)), count, left=start, color=COLORS[key], height=0.72, label=text
        )
        start += count
    ax.set_yticks(np.arange(len(names)))
    ax.set_yticklabels(names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, max(1, 1.04 * start.max()))
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_xlabel("positive anchors before sampling", fontsize=10, color=INK)
    _count(ax.xaxis)
    _legend(plot, 2)
    return _svg(plot)


def gallery_picture(picture: np.ndarray, poor: PoorImage) -> str:
    """Draw an image with its objects colored by status, as JPEG data.

    Parameters
    ----------
    picture : np.ndarray of shape (H, W, 3), uint8
    poor : rpn_target.report.coverage.PoorImage
    """
    height, width = picture.shape[:2]
    scale = min(PICTURE[0] / width, PICTURE[1] / height)
    step = max(1, int(1 / (2 * DPI * scale)))  # to skip pixels that would not be seen
    plot = Figure((width * scale, height * scale), dpi=DPI)
    ax = plot.add_axes((0, 0, 1, 1))
    draw_picture(ax, picture[::step, ::step])
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.images[0].set(extent=(0, width, height, 0), interpolation="antialiased")
    few = len(poor.boxes) <= 12
    texts = [
        f"{short(name, NAME)} {iou:.2f}" if few or state == "never" else ""
        for name, iou, state in zip(poor.names, poor.best_iou, poor.status)
    ]
    draw_objects(
        ax, poor.boxes, texts, [COLORS[state] for state in poor.status],
        (poor.status == "never") | poor.crowded, linewidth=2, fontsize=10.5,
    )  # fmt: skip
    buffer = io.BytesIO()
    save(plot, buffer, format="jpg", pil_kwargs={"quality": 82})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
