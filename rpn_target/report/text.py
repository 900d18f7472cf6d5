"""The report for a terminal."""

from __future__ import annotations

import textwrap
from typing import Sequence

from ..plot import short
from .coverage import BINS
from .results import (
    NO_BETTER,
    NO_REMEDY,
    Figures,
    advice,
    border_line,
    coverage_rows,
    headline,
    idle_line,
    kept_rows,
    level_rows,
    number_note,
    number_rows,
    object_row,
    plural,
    remarks,
    shape_rows,
    sides,
    size_groups,
    suggestion_line,
    suggestion_rows,
    sweep_rows,
    worst_classes,
)

__all__ = ["report_text", "table"]

CLASSES = 30  # shown, worst first
OBJECTS = 10
BAR = 40  # characters
WIDTH = 100
CELL = 40  # characters of a table's cell
NO_BREAK = "\u00a0x\u00a0"


def report_text(figures: Figures) -> str:
    """Return the report as lines of text."""
    parts = [
        _advice(figures), _head(figures), _coverage(figures), _sweep(figures), _worst(figures),
        _distribution(figures), _images(figures), _shapes(figures), _skipped(figures),
        _suggestion(figures), _numbers(figures),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Return rows of strings as aligned columns: the first to the left, the others to the right."""
    rows = [[short(cell, CELL) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _advice(figures: Figures) -> str:
    if figures.get("no_suggestion"):
        return f"What to do\n  No anchors can be suggested: {figures['no_suggestion']}."
    if not figures.get("suggestion"):
        return ""
    lines = [f"  {line}\n      {how}" for line, how in advice(figures)]
    return "\n".join(["What to do", *(lines or [f"  {NO_REMEDY}"])])


def _head(figures: Figures) -> str:
    anchors = figures["anchors"]
    settings = figures["settings"]
    levels = anchors["levels"]
    depths = [level["anchors_per_cell"] for level in levels]
    depths = depths[:1] if len(set(depths)) == 1 else depths
    lines = [
        f"Dataset   {figures['dataset']}",
        f"Anchors   {anchors['title']}",
    ]
    if anchors["arguments"]:
        lines.append(f"          {anchors['arguments']}")
    lines += [
        f"          {plural(len(levels), 'level')}, {'/'.join(map(str, depths))} anchors per cell",
        f"Images    resized to a shorter side of {sides(anchors['short'])}, "
        f"the longer one at most {anchors['max_size']}",
        f"Rule      positive from {settings['pos_iou_thresh']:g}, negative below "
        f"{settings['neg_iou_thresh']:g}; {settings['num_sample']} sampled, at most "
        f"{settings['max_positives']} of them positive",
        "",
        *headline(figures),
    ]
    return "\n".join(lines)


def _coverage(figures: Figures) -> str:
    if not figures["objects"]["all"]["objects"]:
        return ""
    positive = figures["settings"]["pos_iou_thresh"]
    sizes = size_groups(figures)
    classes = worst_classes(figures)
    rows = coverage_rows(figures, sizes + classes[:CLASSES])
    rows.insert(1 + len(sizes), ["by class, worst first"] + [""] * (len(rows[0]) - 1))
    rows.insert(2, ["by size (COCO's)"] + [""] * (len(rows[0]) - 1))
    for row in rows[3:]:
        if row[1]:
            row[0] = f"  {row[0]}"
    lines = ["Objects by the IoU of their best anchor", table(rows)]
    if len(classes) > CLASSES:
        lines.append(f"  ... and {len(classes) - CLASSES} more classes (see --json or --html)")
    lines += [
        "",
        "  low quality: the best anchor is positive only because it is the object's best",
        "  crowded: it would do, but all of the object's anchors stand for neighbors",
        f"  border: below {positive:g}, but an anchor that crosses the image border would reach it",
    ]
    return "\n".join(lines)


def _sweep(figures: Figures) -> str:
    if not figures.get("sweep"):
        return ""
    return f"Objects by the size of the images\n{table(sweep_rows(figures))}"


def _worst(figures: Figures) -> str:
    never = [poor for poor in figures["worst_objects"] if poor["status"] == "never"]
    count = figures["objects"]["all"]["never"]
    if not never:
        return ""
    rows = [["class", "image", "index", "size", "best IoU"]]
    rows += [object_row(poor) for poor in never[:OBJECTS]]
    more = f"\n  ... and {count - OBJECTS:,} more" if count > OBJECTS else ""
    return f"Never learned, lowest IoU first\n{table(rows)}{more}"


def _distribution(figures: Figures) -> str:
    histogram = figures["objects"]["all"]["best_iou_histogram"]
    if not sum(histogram):
        return ""
    rows = []
    pairs = [sum(histogram[start : start + 2]) for start in range(0, BINS, 2)]
    for number, count in enumerate(pairs):
        low, high = 2 * number / BINS, 2 * (number + 1) / BINS
        bar = "#" * -(-BAR * count // max(pairs))
        rows.append(f"  {low:.1f} to {high:.1f}  {count:>7,}  {bar}".rstrip())
    return "\n".join(["Best IoU of the objects", *rows])


def _images(figures: Figures) -> str:
    lines = [
        "Anchors for training", table(kept_rows(figures)),
        f"  {figures['images']['ignored_mean']:,.0f} per image in the ignore band (mean)",
    ]  # fmt: skip
    return "\n".join(lines + [f"  {line}" for line in remarks(figures)])


def _shapes(figures: Figures) -> str:
    lines = ["Anchor shapes (positives before sampling)", table(shape_rows(figures))]
    lines.append(f"  {border_line(figures)}")
    # Wrapped between sizes, not within one.
    idle = idle_line(figures).replace(" x ", NO_BREAK)
    wrapped = textwrap.wrap(idle, WIDTH, initial_indent="  ", subsequent_indent="    ")
    lines += [line.replace(NO_BREAK, " x ") for line in wrapped]
    if len(figures["anchors"]["levels"]) > 1:
        lines += ["", "Anchor levels", table(level_rows(figures))]
    return "\n".join(lines)


def _skipped(figures: Figures) -> str:
    skipped = figures["skipped"]
    if not skipped:
        return ""
    lines = [f"  {one['image']}: {one['reason']}" for one in skipped[:OBJECTS]]
    if figures["images"]["skipped"] > OBJECTS:
        lines.append(f"  ... and {figures['images']['skipped'] - OBJECTS:,} more")
    return "\n".join(["Skipped", *lines])


def _suggestion(figures: Figures) -> str:
    suggestion = figures.get("suggestion")
    if not suggestion:
        return ""
    lines = [f"Suggestion: {suggestion_line(suggestion)}", table(suggestion_rows(suggestion))]
    if suggestion["better"]:
        lines += [
            f"  before  {suggestion['before']['arguments']}",
            f"  after   {suggestion['after']['arguments']}",
            f"  {suggestion['after']['call']}",
        ]
    else:
        lines.append(f"  {NO_BETTER}")
        lines.append(f"  tried   {suggestion['after']['arguments']}")
    return "\n".join(lines)


def _numbers(figures: Figures) -> str:
    if not figures.get("suggestion"):
        return ""
    lines = [
        "Fewer or more anchors per cell, on the images kept aside",
        table(number_rows(figures)),
    ]
    lines += [
        f"  {one['anchors_per_cell']}: {one['call']}"
        for one in figures["suggestion"]["anchors_per_cell"]
    ]
    return "\n".join([*lines, f"  {number_note()}"])
