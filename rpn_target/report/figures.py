"""The summary as plain numbers: what ``--json`` writes, and what text and page are made from."""

from __future__ import annotations

import numpy as np

from .. import __version__
from .coverage import least_learned
from .workers import Job

__all__ = ["never_text", "report_figures"]


def report_figures(job: Job, summary) -> dict:
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
                "index": poor.index,
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
                "index": poor.index,
                "objects": len(poor.boxes),
                "never": poor.never,
                "mean_best_iou": poor.mean_iou,
            }
            for poor in summary.poor_images
        ],
        "skipped": [{"image": name, "reason": reason} for name, reason in summary.broken_names],
    }


def _anchors(scheme) -> dict:
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


def _shapes(scheme, summary) -> list[dict]:
    """Return one entry per anchor shape, by level, then by area."""
    entries = []
    number = 0
    for level, lattice in enumerate(scheme.levels):
        sides = lattice.base[:, 2:] - lattice.base[:, :2]
        for width, height in sides.tolist():
            counts = {name: int(count[number]) for name, count in summary.shapes.items()}
            counts["best_of_objects"] = counts.pop("best")
            counts["forced"] = counts["positive"] - counts["above"]
            entries.append(
                {"level": level, "stride": lattice.stride, "width": width, "height": height}
            )
            entries[-1].update(counts)
            number += 1
    return sorted(
        entries, key=lambda one: (one["level"], one["width"] * one["height"], -one["width"])
    )


def _spread(images_by_count: np.ndarray) -> dict:
    """Return mean, median and range of a number known by how many images have which."""
    images = int(images_by_count.sum())
    if not images:
        return {"mean": 0.0, "median": 0.0, "min": 0, "max": 0, "histogram": []}
    count = np.arange(len(images_by_count))
    before = np.cumsum(images_by_count)
    middle = [
        int(np.searchsorted(before, rank, "right")) for rank in ((images - 1) // 2, images // 2)
    ]
    present = np.flatnonzero(images_by_count)
    return {
        "mean": float(images_by_count @ count / images),
        "median": sum(middle) / 2,
        "min": int(present[0]),
        "max": int(present[-1]),
        "histogram": images_by_count[: present[-1] + 1].tolist(),
    }


def _shortest(value: np.float32) -> float:
    """Return a float32 as the float that prints alike."""
    return float(str(value))


def never_text(figures: dict) -> str:
    """Return what "never learned" means under the settings, for a heading."""
    settings = figures["settings"]
    if settings["low_quality_matches"] == "keep":
        return "no anchor"
    return f"below {settings['least_learned_iou']:g}"
