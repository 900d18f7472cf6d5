"""The report for a browser and for paper: one file that needs no other, and no network."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Sequence

from . import plots
from .coverage import PoorImage
from .results import (
    NO_BETTER,
    NO_REMEDY,
    Figures,
    Signs,
    advice,
    border_line,
    coverage_rows,
    headline,
    idle_line,
    kept_rows,
    level_rows,
    never_text,
    number_note,
    number_rows,
    percent,
    remarks,
    shape_rows,
    sides,
    size_groups,
    suggestion_line,
    suggestion_rows,
    sweep_rows,
    worst_classes,
)
from .source import BrokenItem, Source

__all__ = ["report_page"]

SIGNS = Signs("\u00a0\u00d7\u00a0", "\u2265\u00a0", "<\u00a0")
STYLE = Path(__file__).with_name("page.css")
NAMED = 10  # objects in the box at the top, and in the description of a picture
CLASSES = 200  # in the table
SKIPPED = 100
# Browsers then refuse to fetch anything, whatever names the dataset may contain.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report_page(figures: Figures, source: Source, poor_images: Sequence[PoorImage]) -> str:
    """Return the page.

    Parameters
    ----------
    figures : dict
        See `rpn_target.report.results.report_figures`.
    source : Source
        Where to get the images of the gallery.
    poor_images : list of PoorImage
        The gallery.
    """
    title = f"What the anchors learn from: {figures['dataset']}"
    parts = [
        f"<h1>{escape(title)}</h1>", _advice(figures), _setting(figures), _cards(figures),
        _never(figures),
    ]  # fmt: skip
    if figures["objects"]["all"]["objects"]:
        parts += [_coverage(figures), _images(figures)]
    if figures.get("sweep"):
        caption = "Objects by the shorter side that images are resized to"
        rows = _table(sweep_rows(figures, SIGNS), caption)
        parts.append(f"<h2>At other image sizes</h2>\n{rows}")
    parts.append(_shapes(figures))
    if poor_images:
        parts.append(_gallery(source, poor_images))
    if figures.get("suggestion"):
        parts += [_suggestion(figures), _numbers(figures)]
    parts += [_skipped(figures), _reading(figures)]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        # No icon, which browsers would look for beside the page.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _advice(figures: Figures) -> str:
    if figures.get("no_suggestion"):
        reason = escape(figures["no_suggestion"])
        return f"<h2>What to do</h2>\n<p>No anchors can be suggested: {reason}.</p>"
    if not figures.get("suggestion"):
        return ""
    items = "\n".join(
        f'<li>{escape(line)}<br><code class="long">{escape(how)}</code></li>'
        for line, how in advice(figures)
    )
    body = f"<ol>\n{items}\n</ol>" if items else f"<p>{NO_REMEDY}</p>"
    return f"<h2>What to do</h2>\n{body}"


def _setting(figures: Figures) -> str:
    anchors, settings = figures["anchors"], figures["settings"]
    rows = (
        ("Anchors", f"{escape(anchors['title'])} {_options(anchors['arguments'] or '')}"),
        (
            "Images",
            f"resized to a shorter side of {sides(anchors['short'])}, the longer one at most "
            f"{anchors['max_size']}",
        ),
        (
            "Rule",
            f"positive from an IoU of {settings['pos_iou_thresh']:g}, negative below "
            f"{settings['neg_iou_thresh']:g}; {settings['num_sample']} anchors sampled per image, "
            f"at most {settings['max_positives']} of them positive",
        ),
    )
    items = "\n".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in rows)
    return f'<dl class="setting soft">\n{items}\n</dl>'


def _cards(figures: Figures) -> str:
    every, images = figures["objects"]["all"], figures["images"]
    positive = figures["settings"]["pos_iou_thresh"]
    cards = [
        ("", f"{images['count']:,}", "images"),
        ("", f"{every['objects']:,}", "objects"),
        ("above", percent(every["above"], every["objects"]), f"best anchor from {positive:g} on"),
        ("low_quality", percent(every["low_quality"], every["objects"]), "low-quality match"),
        ("never", percent(every["never"], every["objects"]), "never learned"),
        ("", f"{images['positives_kept']['mean']:.1f}", "positives kept per image"),
    ]
    items = "\n".join(
        f'<li class="{kind}"><b>{escape(value)}</b>{escape(text)}</li>'
        for kind, value, text in cards
    )
    return f'<ul class="cards">\n{items}\n</ul>'


def _never(figures: Figures) -> str:
    line = escape(" ".join(headline(figures)[1:]))
    never = [poor for poor in figures["worst_objects"] if poor["status"] == "never"][:NAMED]
    if not never:
        return f'<p class="lead">{line}</p>' if line else ""
    items = "\n".join(
        f"<li><b>{escape(poor['class'])}</b> in {escape(poor['image'])}, {poor['width']:.0f}"
        f"&nbsp;&times;&nbsp;{poor['height']:.0f} px: best IoU {poor['best_iou']:.2f}</li>"
        for poor in never
    )
    more = figures["objects"]["all"]["never"] - len(never)
    rest = f"<li>and {more:,} more</li>" if more else ""
    return f'<div class="alert"><p class="lead">{line}</p>\n<ul>{items}{rest}</ul></div>'


def _skipped(figures: Figures) -> str:
    skipped = figures["skipped"]
    if not skipped:
        return ""
    items = "\n".join(
        f"<dt>{escape(one['image'])}</dt><dd>{escape(one['reason'])}</dd>"
        for one in skipped[:SKIPPED]
    )
    more = figures["images"]["skipped"] - len(skipped[:SKIPPED])
    rest = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<h2>Skipped</h2>\n<dl>\n{items}\n</dl>{rest}"


def _reading(figures: Figures) -> str:
    positive = figures["settings"]["pos_iou_thresh"]
    terms = (
        (
            "best anchor",
            "of an object: the valid anchor (inside the image) with the largest IoU with it.",
        ),
        (f"at or above {positive:g}", "the best anchor is positive by its IoU."),
        (
            "low_quality",
            f"it is below {positive:g}, and positive only because it is the object's best.",
        ),
        (
            f"never learned ({never_text(figures)})",
            "no anchor is positive for the object, so the RPN is taught that it is background.",
        ),
        (
            "crowded",
            "the best anchor would do, but every anchor stands for the one object it overlaps "
            "most, and all of this object's stand for neighbors.",
        ),
        (
            "border",
            f"an anchor that crosses the image border, which is never trained, would be at or "
            f"above {positive:g}.",
        ),
        ("positives", "anchors that are positive before sampling."),
        ("best of objects", "how many objects have their best anchor of this shape."),
        ("valid", "share of the anchors of this shape that do not cross the image border."),
    )
    items = "\n".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in terms)
    return (
        f"<h2>How to read this</h2>\n<dl>\n{items}\n</dl>\n"
        f'<p class="soft">Made by rpn-target inspect {escape(figures["rpn_target"])}.</p>'
    )


def _coverage(figures: Figures) -> str:
    """Return how well objects are covered, together, by size and by class."""
    settings, every = figures["settings"], figures["objects"]["all"]
    positive = settings["pos_iou_thresh"]
    sizes = size_groups(figures)
    classes = worst_classes(figures)
    low = settings["least_learned_iou"]
    bad = [name for name, tally in classes if tally["never"] > tally["objects"] / 2]
    # Columns that are zero throughout would only push the others off a phone.
    seen = [True] * 6 + [bool(every["crowded"]), bool(every["border"])]

    def rows(groups: Sequence[tuple[str, Figures]]) -> list[list[str]]:
        return [
            [cell for cell, show in zip(row, seen) if show]
            for row in coverage_rows(figures, groups, SIGNS)
        ]

    shown = classes[: plots.CLASSES]
    more = ""
    if len(classes) > len(shown):
        more = f"The {len(shown)} worst of {len(classes)} classes."
    return "\n".join(
        [
            "<h2>How well objects are covered</h2>",
            '<div class="pair">\n<div>',
            _image(
                plots.class_plot([group for group in sizes if group[1]["objects"]], positive),
                "Bars: shares of objects at or above the threshold, of low quality and never "
                "learned, for all objects and by size; the same figures are in the table below.",
                "By size, after COCO: small is under 32&nbsp;&times;&nbsp;32 pixels of the stored "
                "image, large from 96&nbsp;&times;&nbsp;96 on.",
            ),
            _table(rows(sizes), "Objects by size and the IoU of their best anchor"),
            "</div>",
            _image(
                plots.distribution_plot(every["best_iou_histogram"], (low, positive)),
                f"Histogram of the best IoU of {every['objects']} objects, with a mean of "
                f"{every['mean_best_iou']:.3f}.",
                f"Best IoU; dotted lines at {low:g} and {positive:g}.",
            ),
            "</div>",
            "<h2>By class, worst first</h2>",
            '<div class="pair">',
            _image(
                plots.class_plot(shown, positive),
                "Bars: shares of objects at or above the threshold, of low quality and never "
                "learned, by class; the same figures are in the table.",
                more,
            ),
            _table(rows(classes[:CLASSES]), "Objects by class", bad),
            "</div>",
        ]
    )


def _images(figures: Figures) -> str:
    """Return how many anchors images give to train on."""
    images, settings = figures["images"], figures["settings"]
    notes = [f"{images['ignored_mean']:,.0f} anchors per image are in the ignore band (mean)"]
    items = "\n".join(f"<li>{escape(line)}</li>" for line in notes + remarks(figures))
    spread = images["positives_kept"]
    return "\n".join(
        [
            "<h2>What images give to train on</h2>",
            '<div class="pair">',
            _image(
                plots.kept_plot(spread, settings["max_positives"]),
                f"Histogram of the positive anchors kept per image: mean {spread['mean']:.1f}, "
                f"from {spread['min']} to {spread['max']}, of at most {settings['max_positives']}.",
            ),
            f"<div>{_table(kept_rows(figures), 'Anchors kept per image')}\n<ul>{items}</ul></div>",
            "</div>",
        ]
    )


def _shapes(figures: Figures) -> str:
    """Return which anchors do the work."""
    several = len(figures["anchors"]["levels"]) > 1
    rows = [[row[1], *row[: 1 if several else 0], *row[2:]] for row in shape_rows(figures, SIGNS)]
    levels = _table(level_rows(figures), "Anchor levels: the sums over their shapes")
    shown = figures["shapes"][: plots.SHAPES]
    rest = f" The first {len(shown)} of {len(figures['shapes'])} shapes."
    return "\n".join(
        [
            "<h2>Which anchors do the work</h2>",
            f"<p>{border_line(figures)} {escape(idle_line(figures, SIGNS))}</p>",
            '<div class="pair">',
            _image(
                plots.shape_plot(shown),
                "Bars: positive anchors of each shape, by IoU and low-quality; the same figures "
                "are in the table.",
                "Width &times; height in pixels as the network sees the image. A shape without a "
                f"bar never matches.{rest if len(shown) < len(figures['shapes']) else ''}",
            ),
            f"<div>{_table(rows, 'Anchor shapes')}\n{levels if several else ''}</div>",
            "</div>",
        ]
    )


def _gallery(source: Source, poor_images: Sequence[PoorImage]) -> str:
    """Return the worst-covered images."""
    items = []
    for poor in poor_images:
        caption = (
            f"{escape(poor.image)} (index {poor.number}): {len(poor.boxes)} "
            f"{'object' if len(poor.boxes) == 1 else 'objects'}, {poor.never} never learned, mean "
            f"best IoU {poor.mean_iou:.2f}"
        )
        try:
            address = plots.gallery_picture(source.image(poor.number), poor)
        except BrokenItem as error:
            caption += f"; {escape(str(error))}"
            items.append(f"<figure><figcaption>{caption}</figcaption></figure>")
            continue
        alt = "Photograph with boxes: " + ", ".join(
            f"{name} {iou:.2f} {state}"
            for name, iou, state in list(zip(poor.names, poor.best_iou, poor.status))[:NAMED]
        )
        items.append(_image(address, alt, caption))
    return (
        "<h2>Worst-covered images</h2>\n<p>Blue objects have an anchor at or above the threshold, "
        "orange ones a low-quality one, red ones none; without any of their own they are dashed. "
        'The numbers are best IoUs.</p>\n<div class="gallery">\n' + "\n".join(items) + "\n</div>"
    )


def _suggestion(figures: Figures) -> str:
    """Return what `rpn_target.report.suggest` has found."""
    found = figures["suggestion"]
    after = found["after"]
    flags = _options(after["arguments"])
    if found["better"]:
        call = escape(after["call"])
        verdict = f'Try <code class="long">{call}</code>, as options {flags}.'
    else:
        verdict = f"{NO_BETTER} The search came up with {flags}."
    line = suggestion_line(found)
    return (
        f"<h2>Suggested anchors</h2>\n<p>{verdict}</p>\n"
        f"<p>{line[0].upper() + line[1:]}:</p>\n"
        + _table(suggestion_rows(found), "Objects kept aside")
    )


def _numbers(figures: Figures) -> str:
    """Return what fewer or more anchors per cell would bring."""
    numbers = figures["suggestion"]["anchors_per_cell"]
    items = "\n".join(
        f"<dt>{one['anchors_per_cell']}</dt>"
        f'<dd><code class="long">{escape(one["call"])}</code></dd>'
        for one in numbers
    )
    positive = figures["settings"]["pos_iou_thresh"]
    return "\n".join(
        [
            "<h2>Fewer or more anchors per cell</h2>",
            '<div class="pair">',
            _image(
                plots.number_plot(numbers, positive),
                "Lines: shares of objects never learned and at or above the threshold, against "
                "anchors per cell; the same figures are in the table.",
                "On the images kept aside; the dotted line is the present number.",
            ),
            _table(number_rows(figures, SIGNS), "Objects kept aside, by anchors per cell"),
            "</div>",
            f"<p>{number_note()}</p>",
            f"<dl>\n{items}\n</dl>",
        ]
    )


def _table(rows: Sequence[Sequence[str]], caption: str, bad: Sequence[str] = ()) -> str:
    """Return a table whose first row is its head; rows with these names are marked."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    lines = []
    for first, *others in rows[1:]:
        mark = ' class="bad"' if first in bad else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f'<tr{mark}><th scope="row">{escape(first)}</th>{cells}</tr>')
    # A table too wide for a phone scrolls by itself, also by keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>\n</div>"
    )


def _image(address: str, alt: str, caption: str = "") -> str:
    """Return an image with a caption, which is markup."""
    text = f"\n<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img src="{address}" alt="{escape(alt)}">{text}</figure>'


def _options(arguments: str) -> str:
    """Return command-line options, each of which stays on one line."""
    parts = arguments.replace(" --", "\n--").splitlines()
    return " ".join(f"<code>{escape(part)}</code>" for part in parts)
