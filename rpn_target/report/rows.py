"""Rows and sentences of a report, which the text and the page have in common."""

from __future__ import annotations

from .figures import never_text
from .tally import SIZES

__all__ = [
    "NO_BETTER",
    "border_line",
    "coverage_rows",
    "headline",
    "idle_line",
    "kept_rows",
    "level_rows",
    "object_row",
    "percent",
    "plural",
    "remarks",
    "shape_rows",
    "sides",
    "size_groups",
    "suggestion_line",
    "suggestion_rows",
    "worst_classes",
]


def percent(part: float, whole: float) -> str:
    """Return a share, or a dash where there is nothing to share."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def sides(numbers) -> str:
    """Return the length, or the range, of the shorter side."""
    return " to ".join(str(number) for number in numbers)


def _why_never(figures: dict) -> str:
    """Return what is wrong with the best anchor of an object that is never learned."""
    rule = figures["settings"]["low_quality_matches"]
    if rule == "keep":
        return "does not meet it"
    least = f"is below {figures['settings']['least_learned_iou']:g}"
    return f"{least} and so not positive" if rule == "drop" else f"{least} and so background"


def plural(count: int, one: str, more: str = "") -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def headline(figures: dict) -> list[str]:
    """Return the sentences that a report begins with."""
    every, images = figures["objects"]["all"], figures["images"]
    never = every["never"]
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
    elif every["objects"]:
        lines.append("Every object's best anchor is positive.")
    return lines


def coverage_rows(figures: dict, groups) -> list[list[str]]:
    """Return a heading and one row per group of objects."""
    positive = figures["settings"]["pos_iou_thresh"]
    heading = ["", "objects", f">= {positive:g}", "forced", never_text(figures), "mean IoU",
               "crowded", "border"]  # fmt: skip
    rows = [heading]
    for name, tally in groups:
        count = tally["objects"]
        shares = [percent(tally[key], count) for key in ("above", "forced", "never")]
        rows.append(
            [name, f"{count:,}", *shares, f"{tally['mean_best_iou']:.3f}" if count else "-",
             f"{tally['crowded']:,}", f"{tally['border']:,}"]
        )  # fmt: skip
    return rows


def worst_classes(figures: dict) -> list:
    """Return (name, tally) of every class, most never learned first, then the lowest IoU."""
    return sorted(
        figures["objects"]["by_class"].items(),
        key=lambda item: (-item[1]["never"] / item[1]["objects"], item[1]["mean_best_iou"]),
    )


def size_groups(figures: dict) -> list:
    """Return (name, tally) of all objects and of each size."""
    by_size = figures["objects"]["by_size"]
    return [("all", figures["objects"]["all"])] + [(name, by_size[name]) for name in SIZES]


def object_row(poor: dict) -> list[str]:
    """Return an object of low IoU as a row of strings."""
    return [
        poor["class"], poor["image"], str(poor["index"]),
        f"{poor['width']:.0f} x {poor['height']:.0f} px", f"{poor['best_iou']:.2f}",
    ]  # fmt: skip


def kept_rows(figures: dict) -> list[list[str]]:
    """Return a heading and rows of the anchors kept per image."""
    rows = [["per image", "mean", "median", "range"]]
    for name in ("positives", "negatives"):
        spread = figures["images"][f"{name}_kept"]
        rows.append(
            [f"{name} kept", f"{spread['mean']:.1f}", f"{spread['median']:g}",
             f"{spread['min']} to {spread['max']}"]
        )  # fmt: skip
    return rows


def remarks(figures: dict) -> list[str]:
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
    return lines


def shape_rows(figures: dict) -> list[list[str]]:
    """Return a heading and one row per anchor shape."""
    rows = [["stride", "width x height", *WORK]]
    for shape in figures["shapes"]:
        size = f"{shape['width']:.0f} x {shape['height']:.0f}"
        rows.append([f"{shape['stride']:g}", size, *_work(shape)])
    return rows


def level_rows(figures: dict) -> list[list[str]]:
    """Return a heading and one row per level, with the sums over its shapes."""
    rows = [["level", *WORK]]
    for number, level in enumerate(figures["anchors"]["levels"]):
        shapes = [shape for shape in figures["shapes"] if shape["level"] == number]
        names = ("positive", "forced", "best_of_objects", "valid", "total")
        sums = {name: sum(shape[name] for shape in shapes) for name in names}
        rows.append([f"{number} (stride {level['stride']:g})", *_work(sums)])
    return rows


WORK = ("positives", "forced", "best of objects", "inside")


def _work(counts: dict) -> list[str]:
    """Return what anchors do, under the headings of `WORK`."""
    return [
        f"{counts['positive']:,}", f"{counts['forced']:,}", f"{counts['best_of_objects']:,}",
        percent(counts["valid"], counts["total"]),
    ]  # fmt: skip


def border_line(figures: dict) -> str:
    """Return how many anchors the border costs."""
    total = sum(shape["total"] for shape in figures["shapes"])
    lost = total - sum(shape["valid"] for shape in figures["shapes"])
    return f"{percent(lost, total)} of all anchors are lost to the border."


def idle_line(figures: dict) -> str:
    """Return which anchor shapes are never positive, or nothing if all or none of them are."""
    idle = [shape for shape in figures["shapes"] if not shape["positive"]]
    if not 0 < len(idle) < len(figures["shapes"]):
        return ""
    names = ", ".join(f"{one['width']:.0f} x {one['height']:.0f}" for one in idle)
    return f"Never positive, {len(idle)} of {len(figures['shapes'])} shapes: {names}."


def suggestion_rows(suggestion: dict) -> list[list[str]]:
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


def suggestion_line(suggestion: dict) -> str:
    """Return how the suggestion was found and measured."""
    return (
        f"searched on {plural(suggestion['searched_objects'], 'object')} of "
        f"{plural(suggestion['searched_images'], 'image')}, measured on "
        f"{plural(suggestion['before']['held_out']['objects'], 'object')} of "
        f"{plural(suggestion['held_out_images'], 'image')} kept aside"
    )
