"""The sections of the page that have tables and plots."""

from __future__ import annotations

from html import escape

from . import plots
from .markup import figure, options, table, typeset
from .rows import (
    NO_BETTER,
    border_line,
    coverage_rows,
    idle_line,
    kept_rows,
    level_rows,
    remarks,
    shape_rows,
    size_groups,
    suggestion_line,
    suggestion_rows,
    worst_classes,
)
from .source import BrokenItem

__all__ = ["coverage", "gallery", "images", "shapes", "suggestion"]

CLASSES = 200  # in the table
NAMED = 10  # objects in the description of a picture


def coverage(figures: dict) -> str:
    """Return how well objects are covered, together, by size and by class."""
    settings, every = figures["settings"], figures["objects"]["all"]
    positive = settings["pos_iou_thresh"]
    sizes = size_groups(figures)
    classes = worst_classes(figures)
    low = settings["least_learned_iou"]
    bad = [name for name, tally in classes if tally["never"] > tally["objects"] / 2]
    # Columns that are zero throughout would only push the others off a phone.
    seen = [True] * 6 + [bool(every["crowded"]), bool(every["border"])]

    def rows(groups):
        return [
            [cell for cell, show in zip(row, seen) if show]
            for row in coverage_rows(figures, groups)
        ]

    shown = classes[: plots.CLASSES]
    more = ""
    if len(classes) > len(shown):
        more = f"The {len(shown)} worst of {len(classes)} classes."
    return "\n".join(
        [
            "<h2>How well objects are covered</h2>",
            '<div class="pair">\n<div>',
            figure(
                plots.class_plot([group for group in sizes if group[1]["objects"]], positive),
                "Bars: shares of objects at or above the threshold, forced and never learned, "
                "for all objects and by size; the same figures are in the table below.",
                typeset(
                    "By size, after COCO: small is under 32 x 32 pixels of the stored image, large "
                    "from 96 x 96 on."
                ),
            ),
            table(rows(sizes), "Objects by size and the IoU of their best anchor"),
            "</div>",
            figure(
                plots.distribution_plot(every["best_iou_histogram"], (low, positive)),
                f"Histogram of the best IoU of {every['objects']} objects, with a mean of "
                f"{every['mean_best_iou']:.3f}.",
                f"Best IoU; dotted lines at {low:g} and {positive:g}.",
            ),
            "</div>",
            "<h2>By class, worst first</h2>",
            '<div class="pair">',
            figure(
                plots.class_plot(shown, positive),
                "Bars: shares of objects at or above the threshold, forced and never learned, by "
                "class; the same figures are in the table.",
                more,
            ),
            table(rows(classes[:CLASSES]), "Objects by class", bad),
            "</div>",
        ]
    )


def images(figures: dict) -> str:
    """Return how many anchors images give to train on."""
    images, settings = figures["images"], figures["settings"]
    notes = [f"{images['ignored_mean']:,.0f} anchors per image are in the ignore band (mean)"]
    items = "\n".join(f"<li>{escape(line)}</li>" for line in notes + remarks(figures))
    spread = images["positives_kept"]
    return "\n".join(
        [
            "<h2>What images give to train on</h2>",
            '<div class="pair">',
            figure(
                plots.kept_plot(spread, settings["max_positives"]),
                f"Histogram of the positive anchors kept per image: mean {spread['mean']:.1f}, "
                f"from {spread['min']} to {spread['max']}, of at most {settings['max_positives']}.",
            ),
            f"<div>{table(kept_rows(figures), 'Anchors kept per image')}\n<ul>{items}</ul></div>",
            "</div>",
        ]
    )


def shapes(figures: dict) -> str:
    """Return which anchors do the work."""
    several = len(figures["anchors"]["levels"]) > 1
    rows = [[row[1], *row[: 1 if several else 0], *row[2:]] for row in shape_rows(figures)]
    levels = table(level_rows(figures), "Anchor levels: the sums over their shapes")
    shown = figures["shapes"][: plots.SHAPES]
    rest = f" The first {len(shown)} of {len(figures['shapes'])} shapes."
    return "\n".join(
        [
            "<h2>Which anchors do the work</h2>",
            f"<p>{border_line(figures)} {typeset(idle_line(figures))}</p>",
            '<div class="pair">',
            figure(
                plots.shape_plot(shown),
                "Bars: positive anchors of each shape, by IoU and forced; the same figures are in "
                "the table.",
                "Width &times; height in pixels as the network sees the image. A shape without a "
                f"bar never matches.{rest if len(shown) < len(figures['shapes']) else ''}",
            ),
            f"<div>{table(rows, 'Anchor shapes')}\n{levels if several else ''}</div>",
            "</div>",
        ]
    )


def gallery(source, poor_images) -> str:
    """Return the worst-covered images."""
    items = []
    for poor in poor_images:
        caption = (
            f"{escape(poor.image)} (index {poor.index}): {len(poor.boxes)} "
            f"{'object' if len(poor.boxes) == 1 else 'objects'}, {poor.never} never learned, mean "
            f"best IoU {poor.mean_iou:.2f}"
        )
        try:
            address = plots.gallery_picture(source.image(poor.index), poor)
        except BrokenItem as error:
            caption += f"; {escape(str(error))}"
            items.append(f"<figure><figcaption>{caption}</figcaption></figure>")
            continue
        alt = "Photograph with boxes: " + ", ".join(
            f"{name} {iou:.2f} {state}"
            for name, iou, state in list(zip(poor.names, poor.best_iou, poor.status))[:NAMED]
        )
        items.append(figure(address, alt, caption))
    return (
        "<h2>Worst-covered images</h2>\n<p>Blue objects have an anchor at or above the threshold, "
        "orange ones a forced one, red ones none; without any of their own they are dashed. The "
        'numbers are best IoUs.</p>\n<div class="gallery">\n' + "\n".join(items) + "\n</div>"
    )


def suggestion(figures: dict) -> str:
    """Return what `rpn_target.report.suggest` has found."""
    found = figures["suggestion"]
    after = found["after"]
    flags = options(after["arguments"])
    if found["better"]:
        keywords = escape(after["keywords"])
        verdict = f'Try {flags}, in GluonCV <code class="long">{keywords}</code>.'
    else:
        verdict = f"{NO_BETTER} The search came up with {flags}."
    line = suggestion_line(found)
    return (
        f"<h2>Suggested anchors</h2>\n<p>{verdict}</p>\n"
        f"<p>{line[0].upper() + line[1:]}:</p>\n"
        + table(suggestion_rows(found), "Objects kept aside")
    )
