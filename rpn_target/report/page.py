"""The report for a browser and for paper: one file that needs no other, and no network."""

from __future__ import annotations

from html import escape

from . import sections
from .figures import never_text
from .markup import options
from .rows import headline, percent, sides
from .style import STYLE

__all__ = ["report_page"]

NAMED = 10  # objects in the box at the top
SKIPPED = 100
# Browsers then refuse to fetch anything, whatever names the dataset may contain.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def report_page(figures: dict, source, poor_images) -> str:
    """Return the page.

    Parameters
    ----------
    figures : dict
        See `rpn_target.report.figures.report_figures`.
    source : Source
        Where to get the images of the gallery.
    poor_images : list of PoorImage
        The gallery.
    """
    title = f"What the anchors learn from: {figures['dataset']}"
    parts = [
        f"<h1>{escape(title)}</h1>", _setting(figures), _cards(figures), _never(figures),
    ]  # fmt: skip
    if figures["objects"]["all"]["objects"]:
        parts += [sections.coverage(figures), sections.images(figures)]
    parts.append(sections.shapes(figures))
    if poor_images:
        parts.append(sections.gallery(source, poor_images))
    if figures.get("suggestion"):
        parts.append(sections.suggestion(figures))
    parts += [_skipped(figures), _reading(figures)]
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        # No icon, which browsers would look for beside the page.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _setting(figures: dict) -> str:
    anchors, settings = figures["anchors"], figures["settings"]
    rows = (
        ("Anchors", f"{escape(anchors['title'])} {options(anchors['arguments'] or '')}"),
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


def _cards(figures: dict) -> str:
    every, images = figures["objects"]["all"], figures["images"]
    positive = figures["settings"]["pos_iou_thresh"]
    cards = [
        ("", f"{images['count']:,}", "images"),
        ("", f"{every['objects']:,}", "objects"),
        ("above", percent(every["above"], every["objects"]), f"best anchor from {positive:g} on"),
        ("forced", percent(every["forced"], every["objects"]), "forced positive"),
        ("never", percent(every["never"], every["objects"]), "never learned"),
        ("", f"{images['positives_kept']['mean']:.1f}", "positives kept per image"),
    ]
    items = "\n".join(
        f'<li class="{kind}"><b>{escape(value)}</b>{escape(text)}</li>'
        for kind, value, text in cards
    )
    return f'<ul class="cards">\n{items}\n</ul>'


def _never(figures: dict) -> str:
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


def _skipped(figures: dict) -> str:
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


def _reading(figures: dict) -> str:
    positive = figures["settings"]["pos_iou_thresh"]
    terms = (
        ("best anchor", "of an object: the anchor inside the image with the largest IoU with it."),
        (f"at or above {positive:g}", "the best anchor is positive by its IoU."),
        ("forced", f"it is below {positive:g}, and positive only because it is the object's best."),
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
        ("inside", "share of the anchors of this shape that do not cross the image border."),
    )
    items = "\n".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in terms)
    return (
        f"<h2>How to read this</h2>\n<dl>\n{items}\n</dl>\n"
        f'<p class="soft">Made by rpn-target inspect {escape(figures["rpn_target"])}.</p>'
    )
