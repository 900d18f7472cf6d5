"""The summary as plain numbers, which ``--json`` writes, and as rows and sentences of a report."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, NamedTuple, Sequence

import numpy as np

from ..version import __version__
from .anchor_scheme import AnchorScheme
from .coverage import SIZES, STATUS_NAMES, Summary, least_learned
from .workers import Job

__all__ = [
    "Figures",
    "NO_BETTER",
    "NO_REMEDY",
    "advice",
    "border_line",
    "coverage_rows",
    "headline",
    "idle_line",
    "kept_rows",
    "level_rows",
    "never_text",
    "number_note",
    "number_rows",
    "object_row",
    "percent",
    "plural",
    "remarks",
    "report_figures",
    "shape_rows",
    "sides",
    "size_groups",
    "suggestion_line",
    "suggestion_rows",
    "sweep_rows",
    "worst_classes",
]


class Signs(NamedTuple):
    """How signs beside numbers are written."""

    times: str
    at_least: str
    below: str


PLAIN = Signs(" x ", ">= ", "below ")  # a terminal may lack others

NAMED = 3  # objects that are left out, or lie outside

Figures = Dict[str, Any]
"""Numbers by name, as JSON has them."""


def report_figures(job: Job, summary: Summary) -> Figures:
    """Return all figures of a report, as dictionaries, lists, strings and numbers."""
    settings = job.settings
    return {
        "rpn_target": __version__,
        "dataset": job.source.title,
        "anchors": _anchors(job.scheme),
        "settings": {
            "num_sample": settings.num_sample,
            "max_positives": settings.max_positives,
            "pos_iou_thresh": settings.pos_iou_thresh,
            "neg_iou_thresh": settings.neg_iou_thresh,
            "pos_ratio": settings.pos_ratio,
            "allowed_border": settings.allowed_border,
            "low_quality_matches": settings.low_quality_matches,
            "least_learned_iou": _shortest(least_learned(settings)),
        },
        "images": {
            "count": summary.images,
            "skipped": summary.broken,
            "without_objects": summary.without_objects,
            "without_positives": summary.without_positives,
            "without_valid_anchors": summary.without_valid,
            "annotation_size_differs": summary.size_differs,
            "positives_kept": _spread(summary.kept_positives),
            "negatives_kept": _spread(summary.kept_negatives),
            "ignored_mean": summary.ignored / max(1, summary.images),
        },
        "objects": {
            "all": summary.every.figures(),
            "left_out": summary.left_out,
            "left_out_named": _named(summary.left_out_names),
            "outside": summary.outside,
            "outside_named": _named(summary.outside_names),
            "by_size": {name: tally.figures() for name, tally in summary.by_size.items()},
            "by_class": {
                name: summary.by_class[name].figures() for name in sorted(summary.by_class)
            },
        },
        "shapes": _shapes(job.scheme, summary),
        "worst_objects": [
            {
                "class": poor.name,
                "image": poor.image,
                "index": poor.number,
                "row": poor.row,
                "width": poor.width,
                "height": poor.height,
                "best_iou": poor.best_iou,
                "status": poor.status,
            }
            for poor in summary.poor_objects
        ],
        "worst_images": [
            {
                "image": poor.image,
                "index": poor.number,
                "objects": len(poor.boxes),
                "never": poor.never,
                "mean_best_iou": poor.mean_iou,
            }
            for poor in summary.poor_images
        ],
        "skipped": _named(summary.broken_names),
    }


def _named(names: Sequence[tuple[str, str]]) -> list[Figures]:
    return [{"image": name, "reason": reason} for name, reason in names]


def _anchors(scheme: AnchorScheme) -> Figures:
    return {
        "title": scheme.title,
        "short": list(scheme.short),
        "max_size": scheme.max_size,
        "arguments": scheme.recipe.arguments() if scheme.recipe else None,
        "levels": [
            {"stride": level.stride, "anchors_per_cell": level.anchors_per_cell}
            for level in scheme.levels
        ],
    }


def _shapes(scheme: AnchorScheme, summary: Summary) -> list[Figures]:
    """Return one entry per anchor shape, by level, then by area."""
    entries = []
    number = 0
    for level, lattice in enumerate(scheme.levels):
        sides = lattice.base[:, 2:] - lattice.base[:, :2]
        for width, height in sides.tolist():
            counts = {name: int(count[number]) for name, count in summary.shapes.items()}
            counts["best_of_objects"] = counts.pop("best")
            counts["low_quality"] = counts["positive"] - counts["above"]
            entries.append(
                {"level": level, "stride": lattice.stride, "width": width, "height": height}
            )
            entries[-1].update(counts)
            number += 1
    return sorted(
        entries, key=lambda one: (one["level"], one["width"] * one["height"], -one["width"])
    )


def _spread(images_by_count: Counter[int]) -> Figures:
    """Return mean, median and range of a number, given how many images have each."""
    images = sum(images_by_count.values())
    if not images:
        return {"mean": 0.0, "median": 0.0, "min": 0, "max": 0, "histogram": []}
    counts = sorted(images_by_count)
    before = np.cumsum([images_by_count[count] for count in counts])
    middle = [
        counts[int(np.searchsorted(before, rank, "right"))]
        for rank in ((images - 1) // 2, images // 2)
    ]
    return {
        "mean": sum(count * number for count, number in images_by_count.items()) / images,
        "median": sum(middle) / 2,
        "min": counts[0],
        "max": counts[-1],
        "histogram": [images_by_count[count] for count in range(counts[-1] + 1)],
    }


def _shortest(value: np.float32) -> float:
    """Return a float32 as the float that prints alike."""
    return float(str(value))


def never_text(figures: Figures, signs: Signs = PLAIN) -> str:
    """Return what "never learned" means under the settings, for a heading."""
    settings = figures["settings"]
    if settings["low_quality_matches"] == "keep":
        return "no anchor"
    return f"{signs.below}{settings['least_learned_iou']:g}"


def percent(part: float, whole: float) -> str:
    """Return a share, or a dash where there is nothing to share."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def sides(numbers: Sequence[int]) -> str:
    """Return the length, or the range, of the shorter side."""
    return " to ".join(str(number) for number in numbers)


def _why_never(figures: Figures) -> str:
    """Return what is wrong with the best anchor of an object that is never learned."""
    rule = figures["settings"]["low_quality_matches"]
    if rule == "keep":
        return "does not meet it"
    least = f"is below {figures['settings']['least_learned_iou']:g}"
    return f"{least} and so not positive" if rule == "drop" else f"{least} and so background"


def plural(count: int, one: str, more: str = "") -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def headline(figures: Figures) -> list[str]:
    """Return the sentences that a report begins with."""
    every, images = figures["objects"]["all"], figures["images"]
    never, crowded = every["never"], every["crowded"]
    lines = [
        f"{plural(images['count'], 'image')}, {plural(every['objects'], 'object')}, "
        f"{plural(len(figures['objects']['by_class']), 'class', 'classes')}."
    ]
    if never:
        lines.append(
            f"{plural(never, 'object')} ({percent(never, every['objects'])}) "
            f"{'is' if never == 1 else 'are'} never learned: the best anchor "
            f"{_why_never(figures)}."
        )
    if crowded:
        lines.append(
            f"{plural(crowded, 'object')} ({percent(crowded, every['objects'])}) "
            f"{'is' if crowded == 1 else 'are'} crowded out: all anchors that would do stand for "
            "neighbors."
        )
    if every["objects"] and not never and not crowded:
        lines.append("Every object's best anchor is positive.")
    if figures["objects"]["outside"]:
        lines.append(_outside_line(figures["objects"]["outside"]))
    return lines


def _outside_line(count: int) -> str:
    return (
        f"{plural(count, 'object')} {'has' if count == 1 else 'have'} half of the area or more "
        "outside the image, and "
        f"{'is' if count == 1 else 'are'} not counted further: boxes in pixels that are read as "
        "shares, of another image size, or not as corners?"
    )


def _status_shares(tally: Figures) -> list[str]:
    """Return the shares of objects of each status, in the order of `STATUS_NAMES`."""
    return [percent(tally[name], tally["objects"]) for name in STATUS_NAMES.tolist()]


def coverage_rows(
    figures: Figures, groups: Sequence[tuple[str, Figures]], signs: Signs = PLAIN
) -> list[list[str]]:
    """Return a heading and one row per group of objects."""
    positive = figures["settings"]["pos_iou_thresh"]
    heading = ["", "objects", f"{signs.at_least}{positive:g}", "low quality",
               never_text(figures, signs), "mean IoU", "crowded", "border"]  # fmt: skip
    rows = [heading]
    for name, tally in groups:
        count = tally["objects"]
        rows.append(
            [name, f"{count:,}", *_status_shares(tally),
             f"{tally['mean_best_iou']:.3f}" if count else "-", f"{tally['crowded']:,}",
             f"{tally['border']:,}"]
        )  # fmt: skip
    return rows


def sweep_rows(figures: Figures, signs: Signs = PLAIN) -> list[list[str]]:
    """Return a heading and one row per shorter side of `rpn_target.report.suggest.sweep`."""
    positive = figures["settings"]["pos_iou_thresh"]
    heading = ["shorter side", "longer at most", "objects", f"{signs.at_least}{positive:g}",
               "low quality", never_text(figures, signs)]  # fmt: skip
    rows = [heading]
    for one in figures["sweep"]:
        tally = one["objects"]
        rows.append(
            [str(one["short"]), str(one["max_size"]), f"{tally['objects']:,}",
             *_status_shares(tally)]
        )  # fmt: skip
    return rows


def worst_classes(figures: Figures) -> list[tuple[str, Figures]]:
    """Return (name, tally) of every class, most never learned first, then the lowest IoU."""
    return sorted(
        figures["objects"]["by_class"].items(),
        key=lambda item: (-item[1]["never"] / item[1]["objects"], item[1]["mean_best_iou"]),
    )


def size_groups(figures: Figures) -> list[tuple[str, Figures]]:
    """Return (name, tally) of all objects and of each size."""
    by_size = figures["objects"]["by_size"]
    return [("all", figures["objects"]["all"])] + [(name, by_size[name]) for name in SIZES]


def object_row(poor: Figures) -> list[str]:
    """Return an object of low IoU as a row of strings."""
    return [
        poor["class"], poor["image"], str(poor["index"]),
        f"{poor['width']:.0f} x {poor['height']:.0f} px", f"{poor['best_iou']:.2f}",
    ]  # fmt: skip


def kept_rows(figures: Figures) -> list[list[str]]:
    """Return a heading and rows of the anchors kept per image."""
    rows = [["per image", "mean", "median", "range"]]
    for name in ("positives", "negatives"):
        spread = figures["images"][f"{name}_kept"]
        rows.append(
            [f"{name} kept", f"{spread['mean']:.1f}", f"{spread['median']:g}",
             f"{spread['min']} to {spread['max']}"]
        )  # fmt: skip
    return rows


def remarks(figures: Figures) -> list[str]:
    """Return what else there is to say about the images, where there is something."""
    images = figures["images"]
    counts = (
        ("without_positives", "without a positive anchor"),
        ("without_objects", "without an object"),
        ("without_valid_anchors", "without an anchor inside (GluonCV makes all positive)"),
        ("annotation_size_differs", "whose annotation gives another size than the file has"),
        ("skipped", "that cannot be read, skipped"),
    )
    lines = [f"{plural(images[key], 'image')} {what}" for key, what in counts if images[key]]
    left_out = figures["objects"]["left_out"]
    if left_out:
        lines.append(f"{plural(left_out, 'object')} that GluonCV leaves out as invalid")
        lines += _first_named(figures["objects"]["left_out_named"], left_out)
    outside = figures["objects"]["outside"]
    if outside:
        lines.append(f"{plural(outside, 'object')} outside the image")
        lines += _first_named(figures["objects"]["outside_named"], outside)
    return lines


def _first_named(named: Sequence[Figures], count: int) -> list[str]:
    """Return the first few images with what is wrong in them."""
    lines = [f"{one['image']}: {one['reason']}" for one in named[:NAMED]]
    more = count - len(lines)
    return lines + ([f"... and {more:,} more"] if more else [])


def shape_rows(figures: Figures, signs: Signs = PLAIN) -> list[list[str]]:
    """Return a heading and one row per anchor shape."""
    rows = [["stride", "width x height", *WORK]]
    for shape in figures["shapes"]:
        size = f"{shape['width']:.0f}{signs.times}{shape['height']:.0f}"
        rows.append([f"{shape['stride']:g}", size, *_work(shape)])
    return rows


def level_rows(figures: Figures) -> list[list[str]]:
    """Return a heading and one row per level, with the sums over its shapes."""
    rows = [["level", *WORK]]
    for number, level in enumerate(figures["anchors"]["levels"]):
        shapes = [shape for shape in figures["shapes"] if shape["level"] == number]
        names = ("positive", "low_quality", "best_of_objects", "valid", "total")
        sums = {name: sum(shape[name] for shape in shapes) for name in names}
        rows.append([f"{number} (stride {level['stride']:g})", *_work(sums)])
    return rows


WORK = ("positives", "low quality", "best of objects", "valid")


def _work(counts: Figures) -> list[str]:
    """Return what anchors do, under the headings of `WORK`."""
    return [
        f"{counts['positive']:,}", f"{counts['low_quality']:,}", f"{counts['best_of_objects']:,}",
        percent(counts["valid"], counts["total"]),
    ]  # fmt: skip


def border_line(figures: Figures) -> str:
    """Return how many anchors the border costs."""
    total = sum(shape["total"] for shape in figures["shapes"])
    lost = total - sum(shape["valid"] for shape in figures["shapes"])
    return f"{percent(lost, total)} of all anchors are lost to the border."


def idle_line(figures: Figures, signs: Signs = PLAIN) -> str:
    """Return which anchor shapes are never positive, or nothing if all or none of them are."""
    idle = [shape for shape in figures["shapes"] if not shape["positive"]]
    if not 0 < len(idle) < len(figures["shapes"]):
        return ""
    names = ", ".join(f"{one['width']:.0f}{signs.times}{one['height']:.0f}" for one in idle)
    return f"Never positive, {len(idle)} of {len(figures['shapes'])} shapes: {names}."


def advice(figures: Figures) -> list[tuple[str, str]]:
    """Return what to do, as (sentence, how) of each remedy that helps, the best one first."""
    remedies = figures["suggestion"]["remedies"]
    lines = []
    for one in remedies:
        if one["better"] <= one["worse"]:
            continue
        positive = figures["settings"]["pos_iou_thresh"]
        gains = [
            f"{abs(one[key]):,} {'more' if one[key] > 0 else 'fewer'} {what}"
            for key, what in (("won", "learned"), ("more_above", f"at or above {positive:g}"))
            if one[key]
        ]
        gain = f"{one['better']:,} of {plural(one['objects'], 'object')} kept aside gain"
        lose = f", {one['worse']:,} lose" if one["worse"] else ""
        net = f" ({', '.join(gains)})" if gains else ""
        lines.append((f"{one['remedy']}: {gain}{lose}{net}", one["how"]))
    return lines


NO_REMEDY = "Nothing that was tried helps on the images kept aside: keep what you have."


def suggestion_rows(suggestion: Figures) -> list[list[str]]:
    """Return a heading and one row per figure of the held-out objects."""
    sides = [suggestion[side]["held_out"] for side in ("before", "after")]
    rows = [["", "before", "after"]]
    for name, key in (
        ("at or above 0.5", "at_50"), ("at or above 0.7", "at_70"), ("never learned", "never"),
    ):  # fmt: skip
        rows.append([name, *(percent(tally[key], tally["objects"]) for tally in sides)])
    rows.append(["mean IoU", *(f"{tally['mean_best_iou']:.3f}" for tally in sides)])
    return rows


NO_BETTER = "What was found is not better on the images kept aside: keep what you have."


def number_rows(figures: Figures, signs: Signs = PLAIN) -> list[list[str]]:
    """Return a heading and one row per number of anchors per cell."""
    positive = figures["settings"]["pos_iou_thresh"]
    rows = [["anchors per cell", "scales", "ratios", f"{signs.at_least}{positive:g}",
             "never learned"]]  # fmt: skip
    for one in figures["suggestion"]["anchors_per_cell"]:
        shares = [percent(one[key], one["objects"]) for key in ("above", "never")]
        now = ", as now" if one["present_number"] else ""
        rows.append(
            [f"{one['anchors_per_cell']}{now}", str(one["scales_per_level"]), str(one["ratios"]),
             *shares]
        )  # fmt: skip
    return rows


def number_note() -> str:
    """Return what another number of anchors per cell costs."""
    return (
        "Another number makes the RPN's last two convolutions anew, which then have to be trained."
    )


def suggestion_line(suggestion: Figures) -> str:
    """Return how the suggestion was found and measured."""
    return (
        f"searched on {plural(suggestion['searched_objects'], 'object')} of "
        f"{plural(suggestion['searched_images'], 'image')}, measured on "
        f"{plural(suggestion['before']['held_out']['objects'], 'object')} of "
        f"{plural(suggestion['held_out_images'], 'image')} kept aside"
    )
